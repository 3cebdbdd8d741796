"""What the status page must be, looked at in a real browser.

Two nodes set up by the command line, a call allowed, a call refused, a server whose every name is
an attack; then the page itself: signed in, with and without JavaScript, live, light and dark, wide
and narrow, by keyboard, and after its sessions were ended.
"""

import argparse
import base64
import json
import os
import socket
import sys
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))

from browser import Browser, Failed  # noqa: E402
from mesh import Node  # noqa: E402

PASSPHRASE = "correct horse battery staple of the page's test"
# `page::limits::MAX_STREAMS`.
MAX_WATCHERS = 16
# Largest screenshot that may stand in the docs.
MAX_DOCS_BYTES = 200_000
WIDE, NARROW = (1280, 900), (400, 800)
# A name that would be a heading, in a rule that decides.
HEADING = "<h1 hidden>quantity"
POLICIES = [
    {"policy_name": "members_call", "allowed_tools": ["*/*"]},
    {"policy_name": "small_orders", "tools": ["shop/*"], "action_on_violation": "block_and_alert",
     "arguments": {f"/{HEADING}": {"max": 10, "optional": True}}},
    {"policy_name": "no_price_changes", "tools": ["shop/*"], "restricted_intents": ["update_price"],
     "action_on_violation": "block_and_alert"},
]

# Every text of the page whose contrast with what is behind it is less than 4.5 (WCAG 2.2, 1.4.3).
FAINT = """(() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length || e.tagName === "NOSCRIPT") continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) faint.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)}: ${e.textContent.slice(0, 40)}`);
  }
  return faint;
})()"""

# Names as long as they may be and without a place to break, in every cell that shows one; then the
# tables of which a part is out of sight, and the words that are broken for it.
CROWDED = """(() => {
  const node = "n".repeat(32), tool = "t".repeat(71) + "…";
  const peers = document.querySelector("#peers .scroll");
  for (const row of peers.querySelectorAll("tbody tr")) {
    row.querySelector("th").firstChild.data = node;
    row.lastElementChild.textContent = node;
  }
  const rows = [...document.querySelectorAll(".decisions tbody tr:not(.under)")];
  const words = [];
  for (const row of rows) {
    const cell = (label) => row.querySelector(`[data-label="${label}"]`);
    cell("Agent").textContent = cell("Signed by").textContent = node;
    cell("What").querySelector("code, .of").textContent = tool;
    cell("Reason").textContent = "agent_revoked";
    words.push(cell("Reason"), cell("Where"));
  }
  const lines = (e) => { const r = document.createRange(); r.selectNodeContents(e); return r.getClientRects().length; };
  const wide = [peers, document.querySelector("#decisions")].filter((e) => e.scrollWidth > e.clientWidth);
  return [...wide.map((e) => `${e.className || e.id} ${e.scrollWidth} > ${e.clientWidth}`),
    ...words.filter((e) => lines(e) > 1).map((e) => e.textContent)];
})()"""

# What sticks out of the window sideways.
WIDER = """[...document.querySelectorAll("body *")]
  .filter((e) => !e.closest(".skip, thead") && e.getBoundingClientRect().right > innerWidth + 1)
  .map((e) => e.tagName + "." + e.className).slice(0, 5)"""

checks = 0


def check(what, holds, found=""):
    global checks
    checks += 1
    if not holds:
        raise Failed(f"{what}{': ' if found else ''}{found}")
    print(f"  ok {what}", flush=True)


def set_up(binary, directory):
    """Two nodes, servers on the second, an agent of the first that is revoked."""
    first, second = Node(binary, directory, "agents"), Node(binary, directory, "tool-host")
    request, admission = directory / "b.request", directory / "b.admission"
    first.start("up", "--name", first.name, "--mesh", "acme", "--policy", "open")
    second.cli("id", "--request", str(request))
    first.cli("membership", "issue", str(request), "--name", second.name, "--out", str(admission))
    second.start("up", "--admission", str(admission))
    second.cli("server", "add", "shop", "--", str(binary), "sample-server")
    hostile = [sys.executable, str(HERE / "hostile_server.py")]
    second.cli("server", "add", "hostile", "--", *hostile)
    for agent in ("claude", "build-7"):
        first.cli("agent", "add", agent)
    # As many as the sample server has, and the three of the hostile one.
    announced = lambda: len(first.cli("tools")) > 3  # noqa: E731
    first.wait("tools of the other node", announced)
    files = []
    for policy in POLICIES:
        files.append(directory / f"{policy['policy_name']}.json")
        files[-1].write_text(json.dumps(policy))
    first.cli("policy", "apply", *map(str, files), "--yes")
    return first, second


def without(binary, directory):
    """A node whose page cannot listen runs all the same, and says so when asked for the page."""
    lone = Node(binary, directory, "lone")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        os.environ["HEDGEROW_PAGE_LISTEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        try:
            lone.start("up", "--name", lone.name, "--policy", "open")
        finally:
            del os.environ["HEDGEROW_PAGE_LISTEN"]
        code, said = lone.cli("dashboard", fails=True)
        check("a taken port leaves the node without a page", lone.stop() == 0 and code == 1, said)
        check("and the command says so", "no_status_page" in said and "page.listen" in said, said)


def call(node, agent, *more, sku="HR-1001", fails=False):
    words = ("call", "tool-host/shop/check_inventory", f"sku={sku}", *more, "--agent", agent)
    return node.cli(*words, fails=fails)


def login(node):
    return node.cli("dashboard", "--no-open")["url"]


def sign_in(tab, node):
    url = login(node)
    tab.go(url)
    # The page after the login goes on by itself.
    tab.wait("page after the login", "!!document.body?.querySelector('#decisions')"
             " && document.readyState === 'complete'")
    return url


def seen(tab):
    """The page as an operator signs in to it."""
    check("the title names node and mesh", tab.evaluate("document.title").startswith("agents in acme"))
    peers = tab.evaluate("document.querySelector('#peers').innerText")
    for wanted in ("tool-host", "connected", "X25519MLKEM768", "MLDSA65", "direct", "root 1"):
        check(f"peers show {wanted}", wanted in peers, peers)
    tab.wait("tools", "document.querySelector('#tools').innerText.includes('check_inventory')")
    tools = tab.evaluate("document.querySelector('#tools').innerText")
    check("servers are named", "tool-host/shop" in tools and "reachable" in tools, tools)
    rows = tab.evaluate("[...document.querySelectorAll('.decisions tbody tr:not(.under)')].map(r => r.innerText)")
    check("an allowed call is shown", any("allow" in r and "check_inventory" in r for r in rows), rows)
    refused = [r for r in rows if "deny" in r and "agent_revoked" in r]
    check("a refused call is shown with its reason", refused, rows)
    check("who called is shown", "build-7" in refused[0] and "agents" in refused[0], refused)
    alerts = tab.evaluate("document.querySelector('#alerts').innerText")
    check("the refusal is an alert", "agent_revoked" in alerts, alerts)
    node = tab.evaluate("document.querySelector('#node').innerText")
    check("this node says its version", "version" in node, node)
    bundle = tab.evaluate("document.querySelector('#policy').innerText")
    check("the bundle is shown", "Version" in bundle or "No bundle" in bundle, bundle)


# The facts of the newest decision that the rule took: whether they are open, and what can be seen.
FACTS = """(() => {
  const facts = [...document.querySelectorAll(".decisions tbody .basis")]
    .find((e) => e.innerText.includes("small_orders"));
  return facts ? { open: facts.open, id: facts.id, text: facts.innerText } : null;
})()"""
CLICK = "document.querySelector('#{} > summary').click()"


def rules(tab, node):
    """The rule that decided is in the row, the facts are a click away, and stay open."""
    facts = tab.evaluate(FACTS)
    check("the rule is in the row", facts and "/arguments" in facts["text"], facts)
    check("a hostile rule is text", HEADING in facts["text"]
          and tab.evaluate("!document.querySelector('main h1')"), facts)
    check("facts are closed at first", not facts["open"] and "address" not in facts["text"], facts)
    tab.evaluate(CLICK.format(facts["id"]))
    shown = tab.evaluate(FACTS)
    for wanted in ("intents", "judged on", "the whole message", "bundle"):
        check(f"open facts show {wanted}", wanted in shown["text"], shown)
    newest = tab.evaluate("document.querySelector('.decisions tbody a').id")
    call(node, "claude")
    tab.wait("next decision", f"document.querySelector('.decisions tbody a').id !== '{newest}'")
    tab.wait("facts open after an update", f"document.getElementById('{facts['id']}').open")
    check("they stay open when decisions arrive", True)
    rows = tab.evaluate("document.querySelector('.decisions').innerText")
    check("what permits a call is shown", "permitted by members_call" in rows, rows)


def told(tab, node):
    """What the picture in the docs shows: the newest decision is a denial, and its facts are open."""
    words = ("sku=HR-1001", "price=10", "--agent", "claude")
    node.cli("call", "tool-host/shop/update_price", *words, fails=True)
    newest = "document.querySelector('.decisions tbody .basis')"
    tab.wait("denial", f"{newest}.innerText.includes('no_price_changes')")
    tab.evaluate(f"{newest}.querySelector('summary').click()")


def inert(tab):
    """Nothing that others chose became anything but text."""
    check("no name became an element", tab.evaluate(
        "!document.querySelector('img, iframe, [onerror], [onfocus], main [style], main script')"))
    tools = tab.evaluate("document.querySelector('#tools').innerText")
    check("hostile names are shown", "<img src=x onerror=alert(1)>" in tools, tools)
    check("turned text is visible as such", "\\u{202e}" in tools and "\u202e" not in tools, tools)


def live(tab, node):
    """Decisions arrive without anybody asking."""
    tab.wait("live page", "document.body.dataset.live === 'on'")
    newest = tab.evaluate("document.querySelector('.decisions tbody a').id")
    tab.evaluate("window.untouched = true")
    call(node, "claude")
    tab.wait("new decision", f"document.querySelector('.decisions tbody a').id !== '{newest}'")
    check("decisions arrive live", tab.evaluate("window.untouched === true"))
    rows = tab.evaluate("document.querySelectorAll('.decisions tbody tr:not(.under)').length")
    check("rows stay bounded", rows <= 50, rows)
    tab.evaluate("document.querySelector('#pause').click()")
    check("updates can be paused", tab.evaluate("document.querySelector('#live').innerText") == "Paused")
    tab.moves(lambda: tab.evaluate("document.querySelector('#pause').click()"))
    tab.wait("live page again", "document.body.dataset.live === 'on'"
             " && !!document.querySelector('.decisions tbody a')")


def looks(tab, out):
    """Light and dark, wide and narrow: legible, and nothing sticks out."""
    for scheme in ("light", "dark"):
        for width, height in (WIDE, NARROW):
            tab.scheme(scheme)
            tab.size(width, height)
            wider = tab.evaluate("document.documentElement.scrollWidth")
            check(f"{scheme}, {width} px: nothing sticks out", wider <= width, tab.evaluate(WIDER))
            faint = tab.evaluate(FAINT)
            check(f"{scheme}, {width} px: contrast is at least 4.5", not faint, faint)
            screenshot(tab, out / f"{scheme}-{width}.png")
    tab.scheme("light")
    tab.size(*WIDE)


def crowded(tab, out):
    """Long names push nothing out of sight."""
    for width in (WIDE[0], 1210, 1000):
        tab.size(width, WIDE[1])
        found = tab.evaluate(CROWDED)
        check(f"long names, {width} px: every column is in sight", not found, found)
        screenshot(tab, out / f"crowded-{width}.png")
    tab.size(*WIDE)
    tab.moves(lambda: tab.evaluate("location.reload()"))


def screenshot(tab, path, **params):
    data = tab.call("Page.captureScreenshot", format="png", optimizeForSpeed=False, **params)["data"]
    path.write_bytes(base64.b64decode(data))
    return path


def keyboard(tab):
    """Reached in order, named, and visible."""
    tab.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(8):
        tab.press("Tab", 9)
        reached.append(tab.evaluate(
            "document.activeElement.id || document.activeElement.name || document.activeElement.className"
            " || document.activeElement.tagName"))
    check("the first stop skips to the decisions", reached[0] == "skip", reached)
    for wanted in ("pause", "verdict", "find"):
        check(f"`{wanted}` is reached by keyboard", wanted in reached, reached)
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    named = ("link", "button", "searchbox", "combobox", "region", "heading")
    unnamed = [n["role"]["value"] for n in nodes if not n.get("ignored")
               and n.get("role", {}).get("value") in named and not n.get("name", {}).get("value")]
    check("everything to act on has a name", not unnamed, unnamed)
    tables = [n for n in nodes if n.get("role", {}).get("value") == "columnheader"]
    check("tables have column headers", len(tables) >= 14, len(tables))


def scriptless(tab, door):
    """Everything but live updates, without JavaScript."""
    tab.scripts(False)
    tab.go(door)
    check("it says that it is not live", "Without JavaScript" in tab.text())
    check("decisions are there", "agent_revoked" in tab.text())
    tab.evaluate(CLICK.format(tab.evaluate(FACTS)["id"]))
    check("facts open without it", "judged on" in tab.evaluate(FACTS)["text"], tab.evaluate(FACTS))
    tab.focus("[name=find]")
    tab.type("BUILD-7")
    tab.moves(lambda: tab.press("Enter", 13))
    where = tab.evaluate("location.search")
    check("the filter is a plain form", "find=BUILD-7" in where, where)
    rows = tab.evaluate("[...document.querySelectorAll('.decisions tbody tr:not(.under)')].map(r => r.innerText)")
    check("it leaves out the others", rows and all("build-7" in r for r in rows), rows)
    tab.go(door + tab.evaluate("document.querySelector('.decisions tbody a').getAttribute('href')"))
    check("one decision has its page", "agent_revoked" in tab.text(), tab.text())
    tab.scripts(True)
    tab.go(door)


def strict(tab):
    """The policy holds in this browser, and breaches of it are heard here. What was heard before."""
    complaints = list(tab.complaints)
    tab.evaluate("""for (const [tag, text] of [["style", "h1 { color: #ff0000 }"],
        ["script", "window.ran = true"]]) {
      const inline = document.createElement(tag);
      inline.textContent = text;
      document.head.append(inline);
    }""")
    check("inline script and style do nothing", tab.evaluate(
        "!window.ran && getComputedStyle(document.querySelector('h1')).color !== 'rgb(255, 0, 0)'"))
    tab.until("complaint", lambda: len(tab.complaints) >= len(complaints) + 2)
    check("the browser says so", "Content Security Policy" in str(tab.complaints), tab.complaints)
    return complaints


LIVE = "document.getElementById('live').innerText"


def told_why(tab, door):
    """What is not live says so, and why."""
    tab.go(door + "?verdict=deny")
    tab.wait("live page of a filter", "document.body.dataset.live === 'on'")
    check("a filter is not said to be live", tab.evaluate(LIVE) == "Live, but for these decisions",
          tab.evaluate(LIVE))
    [cookie] = tab.call("Network.getCookies")["cookies"]
    headers = {"Cookie": f"{cookie['name']}={cookie['value']}"}
    place = urlsplit(door)
    watchers = []
    # The page that leaves gives its place back in its own time.
    tab.go("about:blank")
    for _ in range(MAX_WATCHERS + 1):
        watcher = HTTPConnection(place.hostname, place.port, timeout=60)
        watcher.request("GET", place.path + "events", headers=headers)
        watchers.append((watcher, watcher.getresponse()))
    tab.go(door)
    tab.wait("reason why it is not live", f"{LIVE}.includes('as many pages watch as may')")
    check("one watcher too many is told why", True)
    for watcher, answer in watchers:
        answer.close()
        watcher.close()
    tab.wait("live page once others left", "document.body.dataset.live === 'on'")


def locked(browser, tab, node, url, door):
    """Who has no session sees nothing, and sessions can be ended."""
    stranger = browser.open()
    for path, reason in ((url, "page_code_used"), (door, "page_no_session")):
        stranger.go(path)
        check(f"a stranger is told `{reason}`", reason in stranger.text(), stranger.text())
        check("and nothing else", "tool-host" not in stranger.text())
    cookies = tab.call("Network.getCookies")["cookies"]
    check("one cookie", len(cookies) == 1, cookies)
    kept = cookies[0]
    check("it is out of reach of scripts and other sites", kept["httpOnly"]
          and kept["sameSite"] == "Strict" and kept["path"].count("/") == 2, kept)
    ended = node.cli("dashboard", "--revoke")["ended"]
    check("all sessions are ended", ended == 1, ended)
    tab.wait("notice that it is not live", f"{LIVE}.includes('the session is over')")
    tab.go(door)
    check("and the page is gone", "page_no_session" in tab.text(), tab.text())


def remembered(tab, node):
    """A node that starts again ends its sessions, and still knows what to look at."""
    sign_in(tab, node)
    door = tab.evaluate("location.href")
    check("the node stops while a page is open", node.stop() == 0)
    node.start("run")
    sign_in(tab, node)
    check("a session is of one run", tab.evaluate("location.href") != door)
    alerts = tab.evaluate("document.querySelector('#alerts').innerText")
    check("alerts outlive a restart", "agent_revoked" in alerts, alerts)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--hedgerow", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--screenshot", type=Path)
    options = arguments.parse_args()
    binary = options.hedgerow.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["HEDGEROW_PASSPHRASE"] = PASSPHRASE
    nodes = []
    with tempfile.TemporaryDirectory() as home:
        directory = Path(home)
        try:
            without(binary, directory)
            first, second = set_up(binary, directory)
            nodes = [second, first]
            for _ in range(3):
                call(first, "claude")
            call(first, "build-7")
            code, said = call(first, "claude", f"{HEADING}=200", fails=True)
            check("a call against a rule is refused", code == 2 and "small_orders" in said, said)
            first.cli("revoke", "agent", "agents/build-7", "--reason", "prompt injection", "--yes")
            code, said = call(first, "build-7", fails=True)
            check("a revoked agent's call is refused", code == 2, said)
            with Browser(directory / "profile") as browser:
                tab = browser.open(*WIDE)
                url = sign_in(tab, first)
                door = tab.evaluate("location.href")
                check("the code is not in the address", "code" not in door, door)
                seen(tab)
                inert(tab)
                live(tab, first)
                rules(tab, first)
                looks(tab, options.out)
                crowded(tab, options.out)
                second.cli("server", "remove", "hostile")
                tab.wait("page without the server that is gone",
                         "!document.querySelector('#tools').innerText.includes('hostile')")
                check("a server that is gone is gone from the page", True)
                if options.screenshot:
                    told(tab, first)
                    tab.size(1240, 720)
                    size = screenshot(tab, options.screenshot).stat().st_size
                    tab.size(*WIDE)
                    check("the screenshot is small enough", size < MAX_DOCS_BYTES, size)
                keyboard(tab)
                scriptless(tab, door)
                complaints = strict(tab)
                check("the browser has nothing to complain about", not complaints,
                      json.dumps(complaints, indent=1))
                told_why(tab, door)
                locked(browser, tab, first, url, door)
                remembered(tab, first)
        except Failed as failure:
            print(f"FAILED: {failure}", file=sys.stderr)
            return 1
        finally:
            for node in nodes:
                node.stop()
    print(f"{checks} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
