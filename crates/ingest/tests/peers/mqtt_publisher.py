"""A publisher at a broker on loopback: paho-mqtt, with Sparkplug B payloads of pysparkplug.

The first argument is JSON: `port`, and perhaps `user`, `password`, `ca`, `certificate`, `key`. The first line printed is
the port. Then one JSON object a line is read, and answered by a line when the broker has it: `publish` (topic) with
`payload` or `hex`, and `retain`; `flood` (topic) with `count` numbers from 0 on; `sparkplug` (NBIRTH, …) of a `group`, `node` and perhaps `device`, with `seq`, `bd_seq`,
`timestamp` and `metrics`; `will`: a second client of this `bd_seq` connects, to die later; `die`: it is cut off; `asked`:
wait until so many rebirth requests have come. The program ends with its standard input.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from pysparkplug import DataType, DBirth, DData, DDeath, Metric, NBirth, NData, NDeath
from pysparkplug._protobuf import Payload

ANSWER_S = 30


class Requests:
    """The rebirth requests that have come."""

    def __init__(self):
        self.count = 0
        self.changed = threading.Condition()

    def take(self, _client, _data, message):
        payload = Payload.FromString(message.payload)
        is_rebirth = any(m.name == "Node Control/Rebirth" and m.boolean_value for m in payload.metrics)
        with self.changed:
            self.count += int(is_rebirth)
            self.changed.notify_all()

    def wait_for(self, count):
        with self.changed:
            if not self.changed.wait_for(lambda: self.count >= count, ANSWER_S):
                raise SystemExit(f"{self.count} rebirth requests instead of {count}")
            return self.count


def connect(spec, on_message=None, will=None):
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    if "user" in spec:
        client.username_pw_set(spec["user"], spec["password"])
    if "ca" in spec:
        client.tls_set(spec["ca"], spec.get("certificate"), spec.get("key"))
    if will is not None:
        client.will_set(*will)
    ready = threading.Event()
    client.on_connect = lambda c, *_: c.subscribe("spBv1.0/+/NCMD/#", 1) if on_message else ready.set()
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = on_message
    client.connect(spec.get("host", "127.0.0.1"), spec["port"], keepalive=30)
    client.loop_start()
    if not ready.wait(ANSWER_S):
        raise SystemExit("no connection to the broker")
    return client


def metric_of(given):
    kind = DataType[given["type"].upper()] if "type" in given else DataType.UNKNOWN
    return Metric(
        timestamp=given.get("timestamp"),
        name=given.get("name"),
        datatype=kind,
        value=given.get("value"),
        alias=given.get("alias"),
        is_historical=given.get("historical", False),
        is_null=given.get("null", False),
    )


def death(command):
    return NDeath(
        timestamp=command.get("timestamp"),
        bd_seq_metric=Metric(timestamp=None, name="bdSeq", datatype=DataType.INT64, value=command["bd_seq"]),
    ).encode(include_dtypes=True)


def payload_of(command):
    kind = command["sparkplug"]
    stamp, seq = command.get("timestamp"), command.get("seq")
    if kind == "NDEATH":
        return death(command)
    if kind == "DDEATH":
        return DDeath(timestamp=stamp, seq=seq).encode()
    metrics = [metric_of(given) for given in command["metrics"]]
    if "bd_seq" in command:
        metrics.append(Metric(timestamp=None, name="bdSeq", datatype=DataType.INT64, value=command["bd_seq"]))
    maker = {"NBIRTH": NBirth, "DBIRTH": DBirth, "NDATA": NData, "DDATA": DData}[kind]
    encoded = maker(timestamp=stamp, seq=seq, metrics=metrics).encode(include_dtypes=kind.endswith("BIRTH"))
    payload = Payload.FromString(encoded)
    for made, given in zip(payload.metrics, command["metrics"]):
        if "quality" in given:
            made.properties.keys.append("Quality")
            made.properties.values.add(type=3, int_value=given["quality"])
    return payload.SerializeToString()


def topic_of(command, kind):
    parts = ["spBv1.0", command["group"], kind, command["node"], command.get("device")]
    return "/".join(part for part in parts if part is not None)


def main():
    spec = json.loads(sys.argv[1])
    requests = Requests()
    client = connect(spec, requests.take)
    mortal = None
    print(spec["port"], flush=True)

    def publish(topic, payload, retain):
        client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(ANSWER_S)

    for line in sys.stdin:
        command = json.loads(line)
        answer = "done"
        if "publish" in command:
            payload = bytes.fromhex(command["hex"]) if "hex" in command else command["payload"]
            publish(command["publish"], payload, command.get("retain", False))
        elif "sparkplug" in command:
            publish(topic_of(command, command["sparkplug"]), payload_of(command), command.get("retain", False))
        elif "flood" in command:
            last = None
            for number in range(command["count"]):
                last = client.publish(command["flood"], str(number), qos=1)
            last.wait_for_publish(ANSWER_S)
        elif "will" in command:
            will = (topic_of(command, "NDEATH"), death({"bd_seq": command["will"]}), 1, False)
            mortal = connect(spec, will=will)
        elif "die" in command:
            # Without a farewell, so that the broker tells of the death.
            mortal.loop_stop()
            mortal.socket().close()
        else:
            answer = str(requests.wait_for(command["asked"]))
        print(answer, flush=True)


main()
