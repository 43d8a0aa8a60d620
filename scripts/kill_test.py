"""The work of kill_test.sh: a run that is killed again and again against one that is not."""
import argparse
import collections
import hashlib
import json
import pathlib
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNCOMPARED = ("timing", "perf/")  # they depend on the clock and the memory
PHASES = ("starting", "sampling", "scoring", "updating", "evaluating", "writing")
REQUIRED = dict.fromkeys(PHASES, 1) | {"writing": 3}  # kills in each
MIN_KILLS = 20
MAX_RETRIES = 60  # further kills for phases that were missed
MARK = re.compile(r"iteration \d+: (sampling|scoring|updating|evaluating|writing)$|checkpoint of iteration \d+ written")

# Everything a resume has to restore: adaptive KL, moments of z, refreshed head groups, critic warm-up, best-K,
# a bfloat16 model with float32 masters, a learning-rate schedule, evaluations.
RUN = {
    "seed": 3,
    "threads": 1,
    "model": {"device": "cpu", "dtype": "bfloat16"},
    "prompt": {"template": "plain", "add_special": False},
    "task": {"name": "logic_grid", "sizes": ["2x2"], "prompt_style": "compact", "answer_style": "lines",
             "format_weight": 0.2},
    "train": {"prompts_per_iteration": 4, "samples_per_prompt": 2, "max_prompt_tokens": 200, "show_sample_every": 0},
    "rollout": {"max_new_tokens": 48, "slots": 8},
    "ppo": {"minibatch_size": 4, "micro_batch_tokens": 256},
    "kl": {"controller": "adaptive", "coefficient": 0.05, "horizon": 100},
    "critic": {"warmup_iterations": 2},
    "optimizer": {"lr": 1e-3, "schedule": "cosine"},
    "critic_optimizer": {"lr": 1e-3},
    "rhythm": {"refresh_every": 2, "calibration_sequences": 4, "min_content_tokens": 2, "z": {"min_steps": 2}},
    "eval": {"every": 2, "num_problems": 3, "slots": 4, "max_new_tokens": 8},
    "checkpoint": {"every": 1, "keep_last": 2, "keep_best": 1},
}


def make_model(binary, work):
    """A tiny untrained decoder around the shipped tokenizer; two steps of supervised training write it."""
    source = work / "tokenizer"
    source.mkdir()
    shutil.copy(ROOT / "data/quickstart/tokenizer.model", source)
    config = {
        "threads": 1,
        "model": {"path": str(source), "device": "cpu"},
        "init": {"hidden_size": 32, "intermediate_size": 64, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2,
                 "max_positions": 512},
        "prompt": RUN["prompt"],
        "task": {"name": "logic_grid", "sizes": ["2x2"], "prompt_style": "compact", "answer_style": "lines"},
        "sft": {"steps": 2, "batch_size": 4, "max_tokens": 512},
        "eval": {"every": 0},
    }
    (work / "sft.json").write_text(json.dumps(config, indent=1))
    done = subprocess.run([binary, "sft", "--config", work / "sft.json", "--run-dir", work / "sft"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("kill_test: the tiny model could not be made:\n" + done.stderr)
    return work / "sft/checkpoints/latest/policy"


def command(binary, work, name):
    return [binary, "--debug", "train", "--config", str(work / "run.json"), "--run-dir", str(work / name), "--auto-resume"]


def iterations_done(run):
    path = run / "metrics.jsonl"
    return path.read_text(errors="replace").count('"event":"iteration"') if path.exists() else 0


def being_written(run):
    folder = run / "checkpoints"
    return folder.is_dir() and any(".tmp-" in entry.name for entry in folder.iterdir())


class Child:
    """A run whose stderr is read as it comes, so that each phase is known the moment it begins."""

    def __init__(self, arguments):
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                        errors="replace")
        self.marks = [("starting", time.monotonic())]
        self.text = ""
        self.ended = False
        self.news = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stderr:
            now = time.monotonic()
            match = MARK.search(line.rstrip())
            with self.news:
                self.text += line
                if match or line.startswith("iteration "):
                    self.marks.append(((match and match.group(1)) or "between", now))
                    self.news.notify()
        with self.news:
            self.ended = True
            self.news.notify()

    def wait_for(self, phase, times):
        """Returns when `phase` has begun so many times, also where it is over by then, or at the end of the run."""
        with self.news:
            if not self.news.wait_for(lambda: self.ended or sum(name == phase for name, _ in self.marks) >= times, timeout=600):
                self.process.kill()
                sys.exit(f"kill_test: ten minutes went by without phase '{phase}'; the run is killed. Its last words:\n" +
                         self.text[-2000:])

    def finish(self):
        self.reader.join()
        return self.process.wait()

    def kill(self):
        """False where the run had ended by itself."""
        if self.process.poll() is not None:
            return False
        self.process.kill()
        return self.finish() == -signal.SIGKILL


def kill_once(arguments, run, phase, times, delay):
    """Starts the run and kills it `delay` seconds after `phase` began for that many times. Returns what was hit, by the
    last line that says so, or None where the run ended before."""
    child = Child(arguments)
    child.wait_for(phase, times)
    # The logs are synced first; what is meant are the moments in which a checkpoint is half there.
    while phase == "writing" and child.marks[-1][0] == phase and not child.ended and not being_written(run):
        time.sleep(0.0005)
    time.sleep(delay)
    if not child.kill():
        return None, child
    hit = child.marks[-1][0]
    return "between" if hit == "writing" and not being_written(run) else hit, child


def leave_alone(arguments):
    """Runs to the end. Returns the exit code, stderr, and the mean seconds of each phase."""
    child = Child(arguments)
    code = child.finish()
    lengths = {name: [] for name in PHASES}
    for (name, begin), (_, end) in zip(child.marks, child.marks[1:]):
        lengths.get(name, []).append(end - begin)
    seconds = {name: sum(values) / max(1, len(values)) for name, values in lengths.items()}
    print(f"  {time.monotonic() - child.marks[0][1]:.1f} s; mean seconds of a phase: " +
          ", ".join(f"{name} {value:.3f}" for name, value in seconds.items()), flush=True)
    return code, child.text, seconds


def logged_iterations(run):
    """Numbers of the iteration lines of log.txt, in their order."""
    return re.findall(r"^\S+ iteration (\d+)/\d+ ", (run / "log.txt").read_text(errors="replace"), re.MULTILINE)


def comparable(row):
    return {key: value for key, value in row.items() if not key.startswith(UNCOMPARED)}


def compare_lines(name, expected, actual, differences):
    want, got = ([comparable(json.loads(line)) for line in path.read_text().splitlines()] for path in (expected, actual))
    if len(want) != len(got):
        differences.append(f"{name}: {len(got)} lines instead of {len(want)}")
    for number, (a, b) in enumerate(zip(want, got), 1):
        if a != b or list(a) != list(b):
            keys = sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
            differences.append(f"{name} line {number}: differs in {', '.join(keys[:5])}")
            return
    print(f"  {name}: {len(got)} lines")


def without_lengths(path):
    """state.json but for the lengths of the logs that hold times: digits and number of these differ (an iteration tells
    how long the checkpoint before it took, but not the first one after a resume)."""
    state = json.loads(path.read_text())
    for name in ("metrics", "events", "text"):
        state["logs"]["state"].pop(name)
    return state


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of each field of a protocol-buffer message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size = {1: 8, 5: 4}[kind]
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def events(folder):
    """(step, tag, bytes of the figure) of every scalar of the event files of a run, the clock's left out."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size = struct.unpack_from("<Q", data, at)[0]
            record, at = data[at + 12:at + 12 + size], at + 16 + size
            event = dict(fields(record))
            for number, value in fields(event.get(5, b"")):
                figure = dict(fields(value)) if number == 1 else {}
                tag = figure.get(1, b"").decode()
                if not tag.startswith(UNCOMPARED):
                    found.append((event.get(2, 0), tag, figure.get(2)))
        if at != len(data):
            found.append(("cut off", path.name, None))
    return found


def compare(left_alone, killed):
    differences = []
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        compare_lines(name, left_alone / name, killed / name, differences)
    evaluated = [sorted(path.name for path in (run / "eval").iterdir()) for run in (left_alone, killed)]
    if evaluated[0] != evaluated[1] or not evaluated[0]:
        differences.append(f"eval/: {evaluated[1]} instead of {evaluated[0]}")
    for name in evaluated[0]:
        files = [run / "eval" / name / "samples.jsonl" for run in (left_alone, killed)]
        if not files[1].exists() or files[0].read_bytes() != files[1].read_bytes():
            differences.append(f"eval/{name}/samples.jsonl differs")
    print(f"  eval/: samples of {len(evaluated[1])} evaluations")
    lines = [logged_iterations(run) for run in (left_alone, killed)]
    if lines[0] != lines[1] or not lines[0]:
        differences.append(f"log.txt: iterations {' '.join(lines[1])} instead of {' '.join(lines[0])}")
    print(f"  log.txt: {len(lines[1])} iterations, none doubled")
    scalars = [events(run) for run in (left_alone, killed)]
    if scalars[0] != scalars[1] or not scalars[0]:
        differences.append(f"tensorboard: {len(scalars[1])} scalars, {len(scalars[0])} expected, or their values differ")
    print(f"  tensorboard: {len(scalars[1])} scalars")
    # State as well as weights: what a further resume would start from.
    folders = [(run / "checkpoints/latest").resolve() for run in (left_alone, killed)]
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    if names[0] != names[1]:
        differences.append(f"files of the last checkpoint: {sorted(set(names[0]) ^ set(names[1]))}")
    tensors = [name for name in names[0] if name.endswith(".safetensors")]
    for name in tensors:
        digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in folders if (folder / name).exists()]
        if len(set(digests)) != 1 or len(digests) != 2:
            differences.append(f"{name} of the last checkpoint differs")
    states = [without_lengths(folder / "state.json") for folder in folders]
    for name in sorted(states[0].keys() | states[1].keys()):
        if states[0].get(name) != states[1].get(name):
            differences.append(f"section {name} of state.json differs")
    print(f"  state.json: {', '.join(sorted(states[1]))}")
    print(f"  {len(tensors)} safetensors files of the last checkpoint (weights, masters, optimizers)")
    for kind in ("latest", "best"):
        steps = [(run / "checkpoints" / kind).resolve().name for run in (left_alone, killed)]
        if steps[0] != steps[1]:
            differences.append(f"checkpoints/{kind} is {steps[1]} instead of {steps[0]}")
    leftovers = [entry.name for entry in (killed / "checkpoints").iterdir() if not entry.name.startswith("step_")
                 and entry.name not in ("latest", "best")]
    if leftovers:
        differences.append(f"left behind in checkpoints/: {', '.join(leftovers)}")
    return differences


def main():
    parser = argparse.ArgumentParser(prog="kill_test.sh")
    parser.add_argument("--binary", default=str(ROOT / "build/release/bin/pan-ppo"))
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep")
    options = parser.parse_args()
    if not pathlib.Path(options.binary).is_file():
        parser.error(f"{options.binary} does not exist; build it (scripts/build.sh) or give --binary")
    if options.keep and pathlib.Path(options.keep).exists():
        parser.error(f"{options.keep} exists already")
    if options.kills < MIN_KILLS:
        parser.error(f"--kills {options.kills}: at least {MIN_KILLS} make a test")
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(options.keep or temporary).resolve()
        work.mkdir(parents=True, exist_ok=True)
        return kill_and_compare(str(pathlib.Path(options.binary).resolve()), options.kills, random.Random(options.seed), work)


def next_target(number, kills, counts):
    """The phases in turn; after that those that were hit too rarely, None where there is none."""
    if number < kills:
        return PHASES[number % len(PHASES)]
    return next((phase for phase in PHASES if counts[phase] < REQUIRED[phase]), None)


class Failure(Exception):
    pass


class KilledRuns:
    """Runs that are killed until enough kills are done. One that reaches its end before that is compared too, and
    another one begins: how fast the machine is decides nothing."""

    def __init__(self, binary, work):
        self.binary, self.work = binary, work
        self.number, self.differences = 0, []
        self.begin()

    def begin(self):
        self.number += 1
        self.run = self.work / f"killed_{self.number}"
        self.arguments = command(self.binary, self.work, self.run.name)

    def check(self, child):
        code = child.finish()
        if code != 0:
            raise Failure(f"a resume after a kill failed with exit code {code}\n" +
                          "".join(child.text.splitlines(True)[-5:]))
        print(f"comparing {self.run.name} with left_alone", flush=True)
        self.differences += compare(self.work / "left_alone", self.run)

    def kill(self, phase, times, delay):
        """Returns what was hit."""
        hit, child = kill_once(self.arguments, self.run, phase, times, delay)
        while hit is None:
            self.check(child)
            self.begin()
            hit, child = kill_once(self.arguments, self.run, phase, times, delay)
        return hit


def kill_all(runs, kills, rng, seconds):
    """Kills per phase. Each time a phase is missed, the next kill aimed at it comes sooner after its line."""
    counts, sooner = collections.Counter(), dict.fromkeys(PHASES, 1.0)
    number = 0
    while (phase := next_target(number, kills, counts)) is not None:
        if number == kills + MAX_RETRIES:
            raise Failure(f"{number} kills hit {phase} {counts[phase]} times, {REQUIRED[phase]} expected")
        times = 1 if phase == "starting" else rng.choice((1, 1, 2))
        hit = runs.kill(phase, times, rng.uniform(0, 0.9 * seconds[phase] * sooner[phase]))
        if hit != phase:
            sooner[phase] /= 2
        counts[hit] += 1
        number += 1
        print(f"kill {number:2d}: aimed at {phase}, hit {hit}; {iterations_done(runs.run)} iterations in the log of "
              f"{runs.run.name}", flush=True)
    return counts


def kill_and_compare(binary, kills, rng, work):
    # A run that is killed this often ends not far from the last kill.
    RUN["train"]["iterations"] = kills + 4
    RUN["model"]["path"] = str(make_model(binary, work))
    (work / "run.json").write_text(json.dumps(RUN, indent=1))
    print(f"left alone: {RUN['train']['iterations']} iterations", flush=True)
    code, errors, seconds = leave_alone(command(binary, work, "left_alone"))
    if code != 0:
        print(f"verdict: the run that was left alone failed with exit code {code}\n{errors}")
        return 1
    runs = KilledRuns(binary, work)
    try:
        counts = kill_all(runs, kills, rng, seconds)
        runs.check(Child(runs.arguments))
    except Failure as failure:
        print(f"verdict: {failure}")
        return 1
    hits = ", ".join(f"{count} {hit}" for hit, count in sorted(counts.items()))
    what = f"after {sum(counts.values())} kills of {runs.number} run{'s' if runs.number > 1 else ''} ({hits})"
    if runs.differences:
        print("\n".join("  DIFFERENT " + line for line in runs.differences))
        print(f"verdict: {len(runs.differences)} differences {what}")
        return 1
    print(f"verdict: the same bit for bit {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
