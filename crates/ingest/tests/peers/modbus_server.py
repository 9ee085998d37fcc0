"""A Modbus server of pymodbus on loopback, with faults by command.

The first argument is JSON: `framing` (tcp, rtu), `port` (0: any), `units`: of each the points `table`, `register`,
`type`, `order`, `value`. The first line printed is the port. Then one JSON object a line is read: `set` a point of a unit, `fault` a register (an exception code, `stall`, `late`,
or null), or `spoil` what is sent from now on (`crc`, `short`, `garbage`, `transaction`, null); each is answered by a line.
The server ends with its standard input.
"""

import asyncio
import json
import struct
import sys

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

# Longer than the tests wait for an answer.
LATE_S = 0.4
TABLES = ["coil", "discrete", "holding", "input"]
# The function code that reads a table, in the order of the tables.
READS = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
FORMATS = {
    "u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "u64": ">Q", "i64": ">q", "f32": ">f", "f64": ">d",
}


def words_of(point):
    """The registers of a point: its bytes, most significant first, laid out as its order's letters say."""
    value = point["value"]
    value = float(value) if point["type"].startswith("f") else int(value)
    data = struct.pack(FORMATS[point["type"]], value)
    pairs = [data[at : at + 2] for at in range(0, len(data), 2)]
    order = point.get("order", "abcd")
    if order in ("cdab", "dcba"):
        pairs.reverse()
    if order in ("badc", "dcba", "ba"):
        pairs = [pair[::-1] for pair in pairs]
    return [struct.unpack(">H", pair)[0] for pair in pairs]


class Unit:
    def __init__(self, number, points):
        self.number = number
        self.cells = {table: {} for table in TABLES}
        self.faults = {}
        for point in points:
            self.set(point)

    def set(self, point):
        cells = self.cells[point["table"]]
        if point["table"] in ("coil", "discrete"):
            cells[point["register"]] = bool(point["value"])
        else:
            for offset, word in enumerate(words_of(point)):
                cells[point["register"] + offset] = word

    async def action(self, function, start, address, count, current, _set):
        table = READS[function]
        for register in range(address, address + count):
            fault = self.faults.get((table, register))
            if fault == "stall":
                await asyncio.sleep(3600)
            elif fault == "late":
                await asyncio.sleep(LATE_S)
            elif fault is not None:
                return ExcCodes(fault)
        for register, value in self.cells[table].items():
            if table in ("coil", "discrete"):
                # Sixteen of them share a register here, the lowest bit first.
                at, bit = register // 16 - start, 1 << register % 16
                current[at] = current[at] | bit if value else current[at] & ~bit
            else:
                current[register - start] = value
        return None

    def device(self):
        blocks = tuple(self.block(table) for table in TABLES)
        return SimDevice(id=self.number, simdata=blocks, action=self.action)

    def block(self, table):
        is_bits = table in ("coil", "discrete")
        kind, default = (DataType.BITS, False) if is_bits else (DataType.REGISTERS, 0)
        runs = []
        for register, value in sorted((self.cells[table] or {65535: default}).items()):
            if runs and runs[-1][0] + len(runs[-1][1]) == register:
                runs[-1][1].append(value)
            else:
                runs.append((register, [value]))
        return [SimData(address=start, values=values, datatype=kind) for start, values in runs]


class Spoiler:
    def __init__(self):
        self.how = None

    def trace(self, sending, data):
        if not sending or self.how is None or not data:
            return data
        if self.how == "crc":
            return data[:-1] + bytes([data[-1] ^ 0xFF])
        if self.how == "garbage":
            return b"\xde\xad" * 20
        if self.how == "transaction":
            return bytes([data[0] ^ 0xFF]) + data[1:]
        # One register less than was asked for, in a frame that is whole (Modbus TCP).
        length = struct.unpack(">H", data[4:6])[0] - 2
        return data[:4] + struct.pack(">H", length) + data[6:8] + bytes([data[8] - 2]) + data[9:-2]


async def main():
    spec = json.loads(sys.argv[1])
    units = {int(number): Unit(int(number), points) for number, points in spec["units"].items()}
    spoiler = Spoiler()
    framer = FramerType.RTU if spec.get("framing") == "rtu" else FramerType.SOCKET
    server = ModbusTcpServer(
        [unit.device() for unit in units.values()],
        framer=framer,
        address=("127.0.0.1", spec.get("port", 0)),
        trace_packet=spoiler.trace,
    )
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        if "set" in command:
            units[command["unit"]].set(command["set"])
        elif "fault" in command:
            key = (command["table"], command["register"])
            units[command["unit"]].faults[key] = command["fault"]
        else:
            spoiler.how = command["spoil"]
        print("done", flush=True)


asyncio.run(main())
