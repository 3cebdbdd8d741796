"""The ways from a client to a server, and how names differ on each.

`outward` turns an operation into what a client must ask on this path, `inward` turns what it saw
back into what it would have seen directly. Only the aggregate path changes names: tools and
prompts are `NODE__SERVER__NAME`, resources `hedgerow://NODE/SERVER/URI`, in lists and in what
answers link to, embed or contain.
"""

import copy

# In a list's items, the members that hold a name and those that hold a URI.
LISTS = {
    "tools/list": ("tools", "name", None),
    "prompts/list": ("prompts", "name", None),
    "resources/list": ("resources", None, "uri"),
    "resources/templates/list": ("resourceTemplates", None, "uriTemplate"),
}


def links(method, result):
    """What in the result of `method` has a URI that says whose resource it is."""
    if method == "resources/read":
        return result.get("contents", [])
    if method == "tools/call":
        blocks = result.get("content", [])
    elif method == "prompts/get":
        contents = [message["content"] for message in result.get("messages", [])]
        blocks = [b for c in contents for b in (c if isinstance(c, list) else [c])]
    else:
        return []
    embedded = [block["resource"] for block in blocks if block["type"] == "resource"]
    return embedded + [block for block in blocks if block["type"] == "resource_link"]


class Direct:
    """The client starts the server itself."""

    name = "direct"
    direct = True

    def __init__(self, server):
        self.endpoint = server.endpoint

    def outward(self, op):
        return op

    def inward(self, op, seen):
        return seen

    def answers_alike(self, op):
        return True

    def compare_initialize(self, checks, where, right, found):
        checks.equal(f"{where}: initialize", right, found)

    def compare_served(self, checks, where, right, found):
        checks.equal(f"{where}: what the server asked", right, found)


class Transparent(Direct):
    """`/mcp/NODE/SERVER`, or stdio for one server: nothing may differ."""

    direct = False

    def __init__(self, name, endpoint):
        self.name = name
        self.endpoint = endpoint
        # Whether every client uses every server here.
        self.everyone = "url" in endpoint


class Aggregate(Transparent):
    """`/mcp`: all servers of all nodes as one, names qualified."""

    def __init__(self, name, endpoint, node, server):
        super().__init__(name, endpoint)
        self.everyone = False
        self.prefix = f"{node}__{server}__"
        self.scheme = f"hedgerow://{node}/{server}/"

    def outward(self, op):
        op = copy.deepcopy(op)
        params = op.get("params", {})
        target = params.get("ref", params)
        for member, prefix in (("name", self.prefix), ("uri", self.scheme)):
            if member in target:
                target[member] = prefix + target[member]
        return op

    def inward(self, op, seen):
        seen = copy.deepcopy(seen)
        for holder in links(op["method"], seen.get("result", {})):
            inner = holder["uri"].removeprefix(self.scheme)
            holder["uri"] = inner if inner != holder["uri"] else f"unqualified: {inner}"
        key, name, uri = LISTS.get(op["method"], (None, None, None))
        if key is None or key not in seen.get("result", {}):
            return seen
        member, prefix = (name, self.prefix) if name else (uri, self.scheme)
        mine = [i for i in seen["result"][key] if i[member].startswith(prefix)]
        for item in mine:
            item[member] = item[member][len(prefix):]
        seen["result"][key] = mine
        return seen

    def answers_alike(self, op):
        # The node answers these itself; that it answers, and whether with an error, must agree.
        return op["method"] not in ("no/such/method", "logging/setLevel", "ping")

    def compare_initialize(self, checks, where, right, found):
        # The node answers for all servers: at least what this one has, nothing of its own name.
        missing = set(right["capabilities"]) - set(found["capabilities"]) - {"tasks"}
        checks.equal(f"{where}: capabilities missing", [], sorted(missing))

    def compare_served(self, checks, where, right, found):
        # The other servers of the session ask too.
        checks.equal(f"{where}: not asked", [], sorted(set(right) - set(found)))


def through(mesh, server):
    """Every path through the mesh to one server, used from the node that does not have it."""
    one, all_of_them = f"/mcp/{mesh.there}/{server.name}", "/mcp"
    yield Transparent(one, mesh.http(one))
    yield Aggregate(all_of_them, mesh.http(all_of_them), mesh.there, server.name)
    yield Transparent("stdio, one server", mesh.stdio(f"{mesh.there}/{server.name}"))
    yield Aggregate("stdio", mesh.stdio(), mesh.there, server.name)
