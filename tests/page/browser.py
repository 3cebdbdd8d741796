"""A headless Chromium, driven over a pipe with its own DevTools protocol.

A pipe needs no port and no package: messages are JSON, each ended by a zero byte.
"""

import json
import os
import queue
import subprocess
import threading
import time

# Longest any one answer or condition may take.
DEADLINE_S = 60


class Failed(Exception):
    """What the browser did is not what the test says."""


class Browser:
    """One Chromium with a fresh profile. Leaving the `with` block ends it."""

    def __init__(self, profile):
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        chromium = [
            "chromium",
            "--headless=new",
            "--no-sandbox",  # Tests run as root in containers; every page is our own.
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--disable-lcd-text",  # Grey edges: the same everywhere, and smaller files.
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
            "about:blank",
        ]
        # Chromium reads from descriptor 3 and writes to 4.
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *chromium],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.to, self.source = os.fdopen(ours_out, "wb"), os.fdopen(ours_in, "rb")
        self.answers, self.tabs, self.last = {}, {}, 0
        self.arrived = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
        except Failed:
            pass
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def read(self):
        rest = b""
        while chunk := self.source.read1(1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    with self.arrived:
                        self.answers[message["id"]] = message
                        self.arrived.notify_all()
                elif (tab := self.tabs.get(message.get("sessionId"))) is not None:
                    tab.hear(message)

    def call(self, method, session=None, **params):
        with self.arrived:
            self.last += 1
            number = self.last
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        try:
            self.to.write(json.dumps(message).encode() + b"\0")
            self.to.flush()
        except OSError as error:
            raise Failed(f"{method}: the browser is gone ({error})") from error
        with self.arrived:
            if not self.arrived.wait_for(lambda: number in self.answers, DEADLINE_S):
                raise Failed(f"{method}: no answer in {DEADLINE_S} s")
            answer = self.answers.pop(number)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, width=1280, height=900):
        """A new tab with cookies of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(self, session["sessionId"])
        self.tabs[tab.session] = tab
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Audits", "Accessibility"):
            tab.call(f"{domain}.enable")
        tab.size(width, height)
        return tab


class Tab:
    """One page, and whatever it complained about."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session
        self.complaints, self.loads = [], queue.Queue()

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def hear(self, message):
        method, params = message["method"], message["params"]
        if method == "Page.loadEventFired":
            self.loads.put(True)
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Audits.issueAdded":
            self.complaints.append(json.dumps(params["issue"]))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {params['message']}")

    def go(self, url):
        def navigate():
            error = self.call("Page.navigate", url=url).get("errorText")
            if error:
                raise Failed(f"{url}: {error}")

        self.moves(navigate)

    def moves(self, act):
        """Does what leads to another document, and waits until that has loaded."""
        while not self.loads.empty():
            self.loads.get()
        act()
        try:
            self.loads.get(timeout=DEADLINE_S)
        except queue.Empty:
            raise Failed("the page does not load") from None

    def evaluate(self, expression):
        params = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", **params)
        if "exceptionDetails" in answer:
            raise Failed(f"`{expression[:200]}`: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, what, expression):
        def holds():
            try:
                return self.evaluate(expression)
            except Failed:
                # A document that is being replaced cannot be asked.
                return False

        self.until(what, holds)

    def until(self, what, holds):
        end = time.monotonic() + DEADLINE_S
        while not holds():
            if time.monotonic() > end:
                raise Failed(f"no {what} in {DEADLINE_S} s:\n{self.text()[:3000]}")
            time.sleep(0.05)

    def text(self):
        return self.evaluate("document.body.innerText")

    def size(self, width, height):
        params = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **params)

    def scheme(self, scheme):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def scripts(self, allowed):
        self.call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def press(self, key, code=0):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code, text="\r" if key == "Enter" else "")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def focus(self, selector):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.focus", nodeId=node)
