"""What a kubelet says to containerd or CRI-O: the CRI (runtime/v1/api.proto) over gRPC, with messages as lists of (number, value).

Debian 12 has no crictl. Only the wire format is here: a text or bytes, a whole number, or a list that is a message within.
"""

import grpc


def varint(number):
    number &= (1 << 64) - 1
    data = b""
    while number > 0x7F:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])


def message(fields):
    data = b""
    for number, value in fields:
        if isinstance(value, int):
            data += varint(number << 3) + varint(value)
            continue
        body = message(value) if isinstance(value, list) else value.encode() if isinstance(value, str) else value
        data += varint(number << 3 | 2) + varint(len(body)) + body
    return data


def read(data):
    """By number, every value that is there: whole numbers, and bytes, which may be a message."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        elif key & 7 == 2:
            length = number()
            value, at = data[at : at + length], at + length
        else:
            raise ValueError(f"wire type {key & 7}")
        found.setdefault(key >> 3, []).append(value)
    return found


def entry(key, value):
    """One of a map's."""
    return [(1, key), (2, value)]


class Cri:
    def __init__(self, socket):
        self.channel = grpc.insecure_channel(f"unix:{socket}")

    def __call__(self, name, *fields):
        """Calls the runtime service, and gives what it answers."""
        call = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{name}", request_serializer=message, response_deserializer=read)
        return call(list(fields), timeout=300)

    def close(self):
        self.channel.close()

    def sandbox(self, name, handler, annotations=(), network=2, pid=1):
        """A pod. Its network: 0 of its own (and a name), 2 the machine's; its processes: 0 one namespace for all, 1 one for each container."""
        config = [
            (1, [(1, name), (2, f"uid-{name}"), (3, "default")]), *([(2, name)] if network == 0 else []), (3, "/mnt/disk/pod-logs"),
            *((7, entry(*each)) for each in annotations),
            (8, [(1, "/pods"), (2, [(1, [(1, network), (2, pid)]), (9, [(1, 0)]), (10, [(1, 1)])])]),
        ]  # fmt: skip
        return self("RunPodSandbox", (1, config), (2, handler))[1][0].decode(), config

    def container(self, sandbox, name, image, command, network=2, pid=1, resources=()):
        """A container of a pod's, with the runtime's own seccomp list and no AppArmor, started."""
        identity, config = sandbox
        made = [
            (1, [(1, name)]), (2, [(1, image), (18, image)]), *((3, word) for word in command), (11, f"{name}.log"),
            (15, [(1, list(resources)), (2, [(3, [(1, network), (2, pid)]), (15, [(1, 0)]), (16, [(1, 1)])])]),
        ]  # fmt: skip
        found = self("CreateContainer", (1, identity), (2, made), (3, config))[1][0].decode()
        self("StartContainer", (1, found))
        return found

    def exec(self, container, *command):
        """What a command in the container wrote, and its status."""
        done = self("ExecSync", (1, container), *((2, word) for word in command), (3, 200))
        return done.get(1, [b""])[0].decode(), done.get(2, [b""])[0].decode(), done.get(3, [0])[0]

    def status(self, container):
        """0 created, 1 running, 2 exited; and the exit status."""
        found = read(self("ContainerStatus", (1, container))[1][0])
        return found.get(3, [0])[0], found.get(7, [0])[0]
