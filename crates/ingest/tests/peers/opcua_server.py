"""An OPC UA server of asyncua on loopback, with faults by command.

The first argument is JSON: `port` (0: any) and `nodes`: of each its `name` (the node is ns=2;s=NAME), `type` and `value`,
or the path of a file with them. The first line printed is the port. Then one JSON object a line is read: `set` a node
(`value`, `status`, `time`), `add` or `remove` one, `count` nodes up from 1 `times` times every `every_ms`, `cut` every
connection (and refuse new ones for `refuse_ms`), or `sessions`: how many there are, and subscriptions; each is answered by
a line. The server ends with its standard input.
"""

import asyncio
import datetime
import json
import logging
import pathlib
import socket
import sys

from asyncua import Server, ua

logging.disable(logging.CRITICAL)
URI = "http://plant/line"
UTC = datetime.timezone.utc


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def time_of(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=None)


def now():
    return datetime.datetime.now(UTC).replace(tzinfo=None)


def variant(kind, value):
    kind = ua.VariantType[kind]
    if kind == ua.VariantType.DateTime:
        value = time_of(value)
    elif value in ("nan", "inf"):
        value = float(value)
    return ua.Variant(value, kind)


class Peer:
    def __init__(self, server):
        self.server = server
        self.kinds = {}

    def node(self, name):
        return self.server.get_node(ua.NodeId(name, 2))

    async def add(self, spec):
        value = variant(spec["type"], spec["value"])
        self.kinds[spec["name"]] = spec["type"]
        node = ua.NodeId(spec["name"], 2)
        await self.server.nodes.objects.add_variable(node, ua.QualifiedName(spec["name"], 2), value)
        await self.set({**spec, "status": spec.get("status")})

    async def set(self, spec):
        kind = spec.get("type") or self.kinds[spec["name"]]
        value = ua.Variant(None, ua.VariantType.Null) if spec["value"] is None else variant(kind, spec["value"])
        status = ua.StatusCode(spec.get("status") or 0)
        time = time_of(spec["time"]) if "time" in spec else now()
        value = ua.DataValue(Value=value, StatusCode=status, SourceTimestamp=time, ServerTimestamp=now())
        space = self.server.iserver.aspace
        answer = await space.write_attribute_value(ua.NodeId(spec["name"], 2), ua.AttributeIds.Value, value)
        answer.check()

    async def count(self, spec):
        for number in range(1, spec["times"] + 1):
            for name in spec["names"]:
                await self.set({"name": name, "value": float(number)})
            await asyncio.sleep(spec["every_ms"] / 1000)

    async def cut(self, spec):
        listener = self.server.bserver
        listener._server.close()
        for client in list(listener.clients):
            client.transport.abort()
        await asyncio.sleep(spec["refuse_ms"] / 1000)
        await listener.start()

    def sessions(self):
        service = self.server.iserver.subscription_service
        return json.dumps({
            "sessions": len({subscription.session_id for subscription in service.subscriptions.values()}),
            "subscriptions": len(service.subscriptions),
        })


async def main():
    spec = json.loads(sys.argv[1])
    port = spec.get("port") or free_port()
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace(URI)
    # There are servers that do not check types.
    server.iserver.aspace._is_expected_variant_type = lambda *_: True
    peer = Peer(server)
    nodes = spec["nodes"]
    if isinstance(nodes, str):
        nodes = json.loads(pathlib.Path(nodes).read_text())
    for node in nodes:
        await peer.add(node)
    await server.start()
    print(port, flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        answer = "done"
        if "set" in command:
            await peer.set(command["set"])
        elif "add" in command:
            await peer.add(command["add"])
        elif "remove" in command:
            await server.delete_nodes([peer.node(command["remove"])])
        elif "count" in command:
            counting = asyncio.create_task(peer.count(command["count"]))
            if cut := command.get("cut"):
                await asyncio.sleep(cut["after_ms"] / 1000)
                await peer.cut(cut)
            await counting
        elif "cut" in command:
            await peer.cut(command["cut"])
        else:
            answer = peer.sessions()
        print(answer, flush=True)


asyncio.run(main())
