"""The plant model's network in PyTorch, and how long a step of training it takes.

Run by `cargo xtask bench train` as `WEIGHTS HEADS WINDOWS TICKS THREADS`. WEIGHTS is what `train_bench` writes: the network
is built from the names and shapes in it, and a weight that is not used here is an error, so that both train the same one.
It does what each line of its input asks for and answers with one JSON object a line.
"""

import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

HORIZONS = (1, 2, 4, 8, 16, 32)
QUANTILES = (0.1, 0.5, 0.9)
CONTEXT = 16
SIDE, PATCH = 8, 14
PATCHES = SIDE * SIDE
DIRECTIONS, KNOTS = 64, 9
LEARNING_RATE = 3e-4


def read_weights(path):
    """The weights of a checkpoint as they are now: the parts of a safetensors file that begin with `now.`."""
    with open(path, "rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        body = bytearray(file.read())
    weights = {}
    for name, entry in head.items():
        if name.startswith("now."):
            begin, end = entry["data_offsets"]
            values = torch.frombuffer(body[begin:end], dtype=torch.float32)
            weights[name.removeprefix("now.")] = values.reshape(entry["shape"]).clone()
    return weights


class Network:
    def __init__(self, weights, heads, windows, ticks):
        self.heads, self.windows, self.ticks = heads, windows, ticks
        self.weights = weights
        self.used = set()
        for name, weight in weights.items():
            weight.requires_grad_(not name.startswith(("fusion.norm.", "features.")))
        width = weights["fusion.queries"].shape[2]
        self.width = width
        self.tags = weights["tag.identity"].shape[1]
        self.cameras = weights["camera.identity"].shape[1]
        self.latent = weights["fusion.out.weight"].shape[1]
        steps = torch.arange(ticks)
        back = steps[:, None] - steps[None, :]
        slopes = 0.5 ** (2 * torch.arange(heads) + 1)
        bias = -slopes[:, None, None] * back
        self.past = bias.masked_fill((back < 0) | (back >= CONTEXT), float("-inf")).float()

    def weight(self, name):
        self.used.add(name)
        return self.weights[name]

    def count(self, name):
        """How many layers there are whose names begin like this."""
        return len({rest[len(name) + 1 :].split(".")[0] for rest in self.weights if rest.startswith(name + ".")})

    def linear(self, name, x):
        y = x @ self.weight(name + ".weight")
        return y + self.weight(name + ".bias") if name + ".bias" in self.weights else y

    def normalise(self, x):
        return F.layer_norm(x, (x.shape[-1],))

    def gelu(self, x):
        return F.gelu(x, approximate="tanh")

    def attention(self, qkv, mask=None):
        sequences, length, _ = qkv.shape
        q, k, v = qkv.view(sequences, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2).reshape(sequences, length, self.width)

    def block(self, name, x):
        x = x + self.linear(name + ".out", self.attention(self.linear(name + ".qkv", self.normalise(x))))
        return x + self.linear(name + ".down", self.gelu(self.linear(name + ".up", self.normalise(x))))

    def tubelets(self, pictures):
        """Frames (ticks * cameras, 2, 112, 112, 3), bytes, to (ticks * cameras, patches, values)."""
        n = pictures.shape[0]
        x = (pictures.float() - 110) / 64
        return x.view(n, 2, SIDE, PATCH, SIDE, PATCH, 3).permute(0, 2, 4, 1, 3, 5, 6).reshape(n, PATCHES, -1)

    def features(self, tubelets):
        off = (tubelets @ self.weight("features.project")).unflatten(0, (-1, self.cameras))
        return ((off - self.weight("features.mean")) / (self.weight("features.scale") + 1)).flatten(0, 1)

    def cameras_encoded(self, tubelets):
        x = self.linear("camera.embed", tubelets) + self.weight("camera.position")
        for i in range(self.count("camera.layer")):
            x = self.block(f"camera.layer.{i}", x)
        return self.normalise(x)

    def fuse(self, tokens, masks):
        ticks = tokens.shape[0]
        nothing = self.weight("fusion.nothing").expand(ticks, 1, self.width)
        tokens = self.normalise(torch.cat([tokens, nothing], 1))
        kv = self.linear("fusion.keys_values", tokens).view(ticks, tokens.shape[1], 2, self.heads, -1)
        k, v = kv.permute(2, 0, 3, 1, 4)
        q = self.weight("fusion.queries")
        q = q.view(1, q.shape[1], self.heads, -1).transpose(1, 2).expand(ticks, -1, -1, -1)
        # The three masks as further queries: (ticks, heads, masks * queries, dim).
        mask = masks.transpose(0, 1).unsqueeze(2).expand(-1, -1, q.shape[2], -1).flatten(1, 2).unsqueeze(1)
        read = F.scaled_dot_product_attention(q.repeat(1, 1, masks.shape[0], 1), k, v, attn_mask=mask)
        read = read.transpose(1, 2).reshape(ticks, masks.shape[0], -1).transpose(0, 1).flatten(0, 1)
        hidden = self.linear("fusion.project", read)
        mean, variance = hidden.mean(0), hidden.var(0, unbiased=False)
        with torch.no_grad():
            self.weight("fusion.norm.mean").lerp_(mean, 0.05)
            self.weight("fusion.norm.variance").lerp_(variance - 1, 0.05)
        hidden = (hidden - mean) / (variance + 1e-4).sqrt()
        states = self.linear("fusion.out", self.gelu(hidden))
        return torch.cat(states.chunk(masks.shape[0], 0), 1)

    def predict(self, states, actions):
        x = self.linear("predictor.states", states)
        condition = self.gelu(self.linear("predictor.actions.inward", actions))
        condition = self.gelu(self.linear("predictor.actions.outward", condition))
        for i in range(self.count("predictor.layer")):
            name = f"predictor.layer.{i}"
            parts = self.linear(name + ".condition", condition).chunk(6, 2)
            modulated = self.normalise(x) * (parts[0] + 1) + parts[1]
            seen = self.attention(self.linear(name + ".qkv", modulated), self.past)
            x = x + self.linear(name + ".out", seen) * (parts[2] + 1)
            modulated = self.normalise(x) * (parts[3] + 1) + parts[4]
            x = x + self.linear(name + ".down", self.gelu(self.linear(name + ".up", modulated))) * (parts[5] + 1)
        return self.normalise(x)

    def patches_ahead(self, context, tokens, features):
        context = self.linear("predictor.patch.context", context)
        x = self.linear("predictor.patch.inward", torch.cat([tokens, features], 2))
        x = x + context.repeat_interleave(self.cameras, 0).unsqueeze(1) + self.weight("predictor.patch.place")
        for i in range(self.count("predictor.patch.layer")):
            x = self.block(f"predictor.patch.layer.{i}", x)
        return features + self.linear("predictor.patch.outward", self.normalise(x))

    def sigreg(self, states):
        directions = F.normalize(torch.randn(states.shape[1], DIRECTIONS), dim=0)
        t = 3.0 * torch.arange(1, KNOTS + 1) / KNOTS
        angle = (states @ directions) * t[:, None, None]
        target = (-0.5 * t * t).exp()[:, None]
        distance = (angle.cos().mean(1) - target).square() + angle.sin().mean(1).square()
        return (distance * target * (2 * 3.0 / KNOTS)).sum(0).mean() * states.shape[0]

    def hinge(self, states):
        return F.relu(1 - (states.var(0, unbiased=False) + 1e-4).sqrt()).mean()

    def loss(self, batch):
        windows, ticks = self.windows, self.ticks
        rows = windows * ticks
        tubelets = self.tubelets(batch["pictures"])
        pictures = self.cameras_encoded(tubelets)
        placed = pictures.view(rows, self.cameras, PATCHES, self.width) + self.weight("camera.identity")
        tag = self.linear("tag.inward", batch["tags"]) + self.weight("tag.identity")
        tokens = torch.cat([placed.flatten(1, 2), self.linear("tag.outward", self.gelu(tag))], 1)
        flat = self.fuse(tokens, batch["masks"])
        states = flat.view(windows, ticks, -1)
        width = states.shape[2]
        hidden = self.predict(states, batch["actions"])
        ahead = self.linear("predictor.horizons", hidden)
        loss = 0.0
        for i, horizon in enumerate(h for h in HORIZONS if h < ticks):
            predicted = ahead[:, : ticks - horizon, i * width : (i + 1) * width]
            loss = loss + F.smooth_l1_loss(predicted, states[:, horizon:]) / len(HORIZONS)
        for part in flat.chunk(width // self.latent, 1):
            share = self.latent / width
            loss = loss + self.sigreg(part) * (0.09 * share) + self.hinge(part) * (0.5 * share)
        pair = torch.cat([states[:, :-1], states[:, 1:]], 2)
        guess = self.linear("inverse.outward", self.gelu(self.linear("inverse.inward", pair)))
        loss = loss + 0.2 * F.mse_loss(guess, batch["actions"][:, 1:])
        by_tick = lambda x: x.view(windows, ticks, self.cameras, PATCHES, -1)
        tokens, features = by_tick(pictures), by_tick(self.features(tubelets))
        before = tokens[:, :-1].flatten(0, 2), features[:, :-1].flatten(0, 2)
        predicted = self.patches_ahead(hidden[:, :-1].flatten(0, 1), *before)
        loss = loss + F.smooth_l1_loss(predicted, features[:, 1:].flatten(0, 2))
        x = torch.cat([hidden.flatten(0, 1).detach(), batch["extra"]], 1)
        out = self.linear("readout.outward", self.gelu(self.linear("readout.inward", x)))
        low, middle, high = out.view(rows, 3, len(HORIZONS), self.tags).unbind(1)
        half = lambda part: part.clamp(-3, 3).exp() * 1.2816
        for band, quantile in zip((middle - half(low), middle, middle + half(high)), QUANTILES):
            error = batch["targets"] - band
            pinball = (F.relu(error) * quantile + F.relu(-error) * (1 - quantile)) * batch["present"]
            loss = loss + pinball.sum() / (batch["present"].sum() + 1)
        return loss

    def batch(self):
        """Random inputs of the right shapes. Nothing is hidden, as in most steps."""
        rows, tags = self.windows * self.ticks, self.tags
        pictures, tokens = self.cameras * PATCHES, self.cameras * PATCHES + tags + 1
        masks = torch.zeros(3, rows, tokens)
        masks[1, :, pictures : pictures + tags] = -1e9
        masks[2, :, :pictures] = -1e9
        extra = self.weights["readout.inward.weight"].shape[0] - self.width
        actions = self.weights["predictor.actions.inward.weight"].shape[0]
        return {
            "pictures": torch.randint(0, 256, (rows * self.cameras, 2, SIDE * PATCH, SIDE * PATCH, 3), dtype=torch.uint8),
            "tags": torch.randn(rows, tags, self.weights["tag.inward.weight"].shape[0]),
            "masks": masks,
            "actions": torch.randn(self.windows, self.ticks, actions),
            "extra": torch.randn(rows, extra),
            "targets": torch.randn(rows, len(HORIZONS), tags),
            "present": torch.ones(rows, len(HORIZONS), tags),
        }


def answer(value):
    print(json.dumps(value), flush=True)


def main():
    path, *sizes = sys.argv[1:]
    heads, windows, ticks, threads = map(int, sizes)
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    network = Network(read_weights(path), heads, windows, ticks)
    trained = [weight for weight in network.weights.values() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=True)
    batch = network.batch()

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = network.loss(batch)
        loss.backward()
        optimiser.step()
        return loss.item()

    counter = FlopCounterMode(display=False)
    with counter:
        step()
    unused = sorted(set(network.weights) - network.used)
    if unused:
        sys.exit(f"the network in PyTorch does not use {', '.join(unused)}: bring tests/python/train_peer.py up to date")
    answer({
        "torch": torch.__version__,
        "gflop": counter.get_total_flops() / 1e9,
        "parameters": sum(weight.numel() for weight in trained),
    })
    for line in sys.stdin:
        command, count = line.split()
        if command != "steps":
            sys.exit(f"'{command}' is no command; there is `steps COUNT`")
        seconds, cpu_seconds = [], []
        for _ in range(int(count)):
            cpu, begin = time.process_time(), time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
            cpu_seconds.append(time.process_time() - cpu)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak})


main()
