#!/usr/bin/env python3
"""Generation speed of pan-ppo beside transformers, on the same prompts, in one run.

    scripts/bench_generate.py --model DIR --binary build/release/bin/pan-ppo --data data/gsm8k/test.jsonl

Both sides decode the same chat prompts greedily, without stopping early, on the same number of threads. They take
turns, because the speed of a machine changes with what else runs on it: what counts is the ratio within a round.
A number above 1 says that pan-ppo is faster. Needs a Python with torch and transformers.

The binary is called as
    BINARY generate --model DIR --input F.jsonl --max-new-tokens N --temperature 0 --ignore-stop --dtype T
                    --threads K --json
with rows {"prompt": TEXT} in F.jsonl (the rendered chat), and prints one JSON object with "new_tokens", "prefill_tokens",
"total_s", "peak_rss_bytes" and "texts".
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="Hugging Face folder")
    p.add_argument("--binary", required=True, help="pan-ppo")
    p.add_argument("--data", required=True, help='JSON lines with "question"')
    p.add_argument("--prompts", type=int, default=8)
    p.add_argument("--max-new-tokens", type=int, default=64)
    p.add_argument("--dtypes", default="float32,bfloat16", help="comma-separated")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--output", help="also write the figures to this JSON file")
    p.add_argument("--check", action="store_true", help="exit with 1 when a median ratio is below 1")
    return p.parse_args()


def encode_prompts(tokenizer, args):
    with open(args.data, encoding="utf-8") as f:
        questions = [json.loads(line)["question"] for _, line in zip(range(args.prompts), f)]
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True,
                                           tokenize=False) for q in questions]
    return texts, [tokenizer(t)["input_ids"] for t in texts]


def left_padded(torch, rows, pad):
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(r)) + r for r in rows])
    mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows])
    return {"input_ids": ids, "attention_mask": mask}


def run_transformers(torch, model, inputs, num_new, pad):
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(**inputs, do_sample=False, min_new_tokens=num_new, max_new_tokens=num_new,
                             pad_token_id=pad)
    elapsed = time.perf_counter() - start
    new = out[:, inputs["input_ids"].shape[1]:]
    return new.numel() / elapsed, new


def run_binary(args, dtype, path, num_prompt_tokens):
    command = [args.binary, "generate", "--model", args.model, "--input", path, "--max-new-tokens",
               str(args.max_new_tokens), "--temperature", "0", "--ignore-stop", "--dtype", dtype, "--threads",
               str(args.threads), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr}")
    figures = json.loads(done.stdout)
    expected = args.prompts * args.max_new_tokens
    if figures["new_tokens"] != expected:
        sys.exit(f"the binary made {figures['new_tokens']} tokens, expected {expected}")
    if figures["prefill_tokens"] != num_prompt_tokens:
        sys.exit(f"the binary read {figures['prefill_tokens']} prompt tokens, expected {num_prompt_tokens}")
    return figures


def common_share(texts, tokenizer, new):
    """Mean share of a text that both sides have in common from its beginning: rounding parts greedy paths late."""
    shares = []
    for a, ids in zip(texts, new):
        b = tokenizer.decode(ids)
        n = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        shares.append(n / max(1, min(len(a), len(b))))
    return statistics.mean(shares)


def bench(dtype, rows, path, args, tokenizer, pad):
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, dtype)).eval()
    inputs = left_padded(torch, rows, pad)
    run_transformers(torch, model, inputs, 1, pad)  # warm-up; the binary does its own
    ours, theirs, peaks = [], [], []
    for _ in range(args.rounds):
        figures = run_binary(args, dtype, path, sum(map(len, rows)))
        ours.append(figures["new_tokens"] / figures["total_s"])
        peaks.append(figures["peak_rss_bytes"])
        speed, new = run_transformers(torch, model, inputs, args.max_new_tokens, pad)
        theirs.append(speed)
    ratios = [a / b for a, b in zip(ours, theirs)]
    return {
        "pan_ppo_tokens_per_s": ours,
        "transformers_tokens_per_s": theirs,
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
        "pan_ppo_peak_rss_bytes": max(peaks),
        "common_text_share": common_share(figures["texts"], tokenizer, new),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }


def main():
    args = parse_args()
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    texts, rows = encode_prompts(tokenizer, args)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "prompts.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"prompt": t}) + "\n" for t in texts)
        print(f"{len(rows)} prompts of {sum(map(len, rows))} tokens, {args.max_new_tokens} new tokens each, "
              f"{args.threads} threads; token/s, median of {args.rounds} rounds")
        for dtype in args.dtypes.split(","):
            r = results[dtype] = bench(dtype, rows, path, args, tokenizer, pad)
            print(f"{dtype:9s} pan-ppo {statistics.median(r['pan_ppo_tokens_per_s']):7.1f}   "
                  f"transformers {statistics.median(r['transformers_tokens_per_s']):7.1f}   "
                  f"ratio {r['median_ratio']:.2f} ({min(r['ratios']):.2f} to {max(r['ratios']):.2f})   "
                  f"peak {r['pan_ppo_peak_rss_bytes'] / 2**20:.0f} MiB   same text {r['common_text_share']:.0%}",
                  flush=True)
    if args.output:
        with open(args.output, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
            f.write("\n")
    return 1 if args.check and any(r["median_ratio"] < 1 for r in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
