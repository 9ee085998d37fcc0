"""An OPC UA server of asyncua on loopback, with faults by command.

The first argument is JSON: `port` (0: any) and `nodes`: of each its `name` (the node is ns=2;s=NAME), `type` and `value`,
where wanted also the folder that it is `in`, its `browse` name, `unit` and `range`; or the path of a file with them; with `structures` also the nodes drive and drives; with `folder` also every security
policy, its certificate made there (server.der, good for `days`), a user by name (reader, geheim), and a user's certificate
made there (user.der, user.pem). The first line printed is the port. Then one JSON object a line is read: `set` a node
(`value`, `status`, `time`), `add` or `remove` one, `count` nodes up from 1 `times` times every `every_ms`, `cut` every
connection (and refuse new ones for `refuse_ms`), `freeze_ms`: answer nothing for so long, or `sessions`: how many there
are, and subscriptions; each is answered by a line. The server ends with its standard input.
"""

import asyncio
import datetime
import json
import logging
import pathlib
import socket
import sys
import time

from asyncua import Server, ua
from asyncua.common.structures104 import new_struct, new_struct_field
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

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


class Users:
    def get_user(self, iserver, username=None, password=None, certificate=None):
        is_known = (username, password) == ("reader", "geheim")
        is_known = is_known or (username is None and password is None)
        return User(role=UserRole.User) if is_known else None


def made(folder, name, days):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.UniformResourceIdentifier(f"urn:{name}"), x509.DNSName("localhost")]
    today = datetime.datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=10))
        .not_valid_after(today + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    (folder / f"{name}.pem").write_bytes(key.private_bytes(*plain))


async def secure(server, folder):
    await server.load_certificate(folder / "server.der")
    await server.load_private_key(folder / "server.pem")
    await server.set_application_uri("urn:server")
    server.set_security_policy(list(ua.SecurityPolicyType))
    server.set_identity_tokens([ua.AnonymousIdentityToken, ua.UserNameIdentityToken, ua.X509IdentityToken])


class Peer:
    def __init__(self, server):
        self.server = server
        self.kinds = {}
        self.folders = {}

    def node(self, name):
        return self.server.get_node(ua.NodeId(name, 2))

    async def add(self, spec):
        value = variant(spec["type"], spec["value"])
        self.kinds[spec["name"]] = spec["type"]
        node = ua.NodeId(spec["name"], 2)
        folder = await self.folder(spec["in"]) if "in" in spec else self.server.nodes.objects
        variable = await folder.add_variable(node, ua.QualifiedName(spec.get("browse", spec["name"]), 2), value)
        if "unit" in spec:
            unit = ua.EUInformation(DisplayName=ua.LocalizedText(spec["unit"]))
            await variable.add_property(ua.NodeId(0, 2), ua.QualifiedName("EngineeringUnits", 0), unit)
        if "range" in spec:
            span = ua.Range(*spec["range"])
            await variable.add_property(ua.NodeId(0, 2), ua.QualifiedName("EURange", 0), span)
        await self.set({**spec, "status": spec.get("status")})

    async def folder(self, name):
        if name not in self.folders:
            made = await self.server.nodes.objects.add_object(ua.NodeId(name, 2), ua.QualifiedName(name, 2))
            self.folders[name] = made
        return self.folders[name]

    async def add_structure(self):
        fields = [new_struct_field("speed", ua.VariantType.Double), new_struct_field("on", ua.VariantType.Boolean)]
        axis = await new_struct(self.server, 2, "Axis", fields)
        fields = [
            new_struct_field("name", ua.VariantType.String),
            new_struct_field("count", ua.VariantType.UInt16),
            new_struct_field("row", ua.VariantType.Float, array=True),
            new_struct_field("axes", axis[0], array=True),
        ]
        await new_struct(self.server, 2, "Drive", fields)
        await self.server.load_data_type_definitions()
        axes = [ua.Axis(speed=1.5, on=True), ua.Axis(speed=2.5, on=False)]
        drive = ua.Drive(name="x", count=7, row=[0.25, 0.5], axes=axes)
        value = ua.Variant(drive, ua.VariantType.ExtensionObject)
        await self.server.nodes.objects.add_variable(ua.NodeId("drive", 2), ua.QualifiedName("drive", 2), value)
        value = ua.Variant([drive, drive], ua.VariantType.ExtensionObject)
        await self.server.nodes.objects.add_variable(ua.NodeId("drives", 2), ua.QualifiedName("drives", 2), value)

    async def set(self, spec):
        kind = spec.get("type") or self.kinds[spec["name"]]
        value = ua.Variant(None, ua.VariantType.Null) if spec["value"] is None else variant(kind, spec["value"])
        status = ua.StatusCode(spec.get("status") or 0)
        captured = time_of(spec["time"]) if "time" in spec else now()
        value = ua.DataValue(Value=value, StatusCode=status, SourceTimestamp=captured, ServerTimestamp=now())
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
    folder = pathlib.Path(spec["folder"]) if "folder" in spec else None
    server = Server(user_manager=Users())
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    if folder is None:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    else:
        if not (folder / "server.der").exists() or "days" in spec:
            made(folder, "server", spec.get("days", 30))
            made(folder, "user", 30)
        await secure(server, folder)
    await server.register_namespace(URI)
    # There are servers that do not check types.
    server.iserver.aspace._is_expected_variant_type = lambda *_: True
    peer = Peer(server)
    nodes = spec["nodes"]
    if isinstance(nodes, str):
        nodes = json.loads(pathlib.Path(nodes).read_text())
    for node in nodes:
        await peer.add(node)
    if spec.get("structures"):
        await peer.add_structure()
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
        elif "freeze_ms" in command:
            # Connections stay open, and nothing answers.
            time.sleep(command["freeze_ms"] / 1000)
        elif "cut" in command:
            await peer.cut(command["cut"])
        else:
            answer = peer.sessions()
        print(answer, flush=True)


asyncio.run(main())
