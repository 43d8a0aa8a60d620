#!/usr/bin/env python3
"""Compares our tokenizer with the reference library on a real model folder: every question and answer of GSM8K and the hostile
texts of the fixtures, encoded and decoded, and every prompt through the chat template. Exits 1 at a difference.

    check_model_folder.py --tool build/src/tokenizer/tokenizer_tool --gsm8k data/gsm8k [MODEL_FOLDER]

MODEL_FOLDER is taken from PAN_TEST_MODEL where it is not given. Needs the Python package transformers (and sentencepiece for
folders with a tokenizer.model alone).
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def all_texts(gsm8k):
    texts = json.loads((HERE.parent / "fixtures/tokenizer/texts.json").read_text())
    for name in ("train", "test"):
        for line in open(pathlib.Path(gsm8k) / f"{name}.jsonl", encoding="utf-8"):
            row = json.loads(line)
            texts += [row["question"], row["answer"]]
    return texts


def run(tool, *arguments):
    done = subprocess.run([tool, *map(str, arguments)], text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}\n{done.stderr}")
    print(done.stdout.strip())


def read_rows(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def report(what, texts, ours, reference):
    wrong = [i for i, (a, b) in enumerate(zip(ours, reference)) if a != b]
    print(f"{what}: {len(texts) - len(wrong)} of {len(texts)} equal")
    for i in wrong[:5]:
        print(f"  {texts[i]!r:.300}\n    ours      {str(ours[i]):.300}\n    reference {str(reference[i]):.300}")
    return len(ours) == len(reference) and not wrong


def reference_of(folder):
    if (folder / "tokenizer.json").exists():
        from tokenizers import Tokenizer
        tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return (lambda t: tok.encode(t, add_special_tokens=False).ids), (lambda ids: tok.decode(ids, skip_special_tokens=False))
    import sentencepiece
    sp = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return sp.encode, sp.decode


def check_tokenize(args, texts, work):
    run(args.tool, "tokenize", args.model, work / "in.jsonl", work / "out.jsonl")
    rows = read_rows(work / "out.jsonl")
    encode, decode = reference_of(args.model)
    ids = [encode(t) for t in texts]
    good = report("ids", texts, [r["token_ids"] for r in rows], ids)
    return report("decoded", texts, [r["decoded"] for r in rows], [decode(i) for i in ids]) and good


def check_chat(args, texts, work, config, **arguments):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer
    tok = AutoTokenizer.from_pretrained(str(args.model))
    if (args.model / "tokenizer.json").exists():
        # For some families transformers puts a normaliser of its own in place of the file's; the file is what counts.
        tok._tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    run(args.tool, "chat", args.model, work / "in.jsonl", work / "chat.jsonl", json.dumps(config))
    rows = read_rows(work / "chat.jsonl")
    talk = lambda text: [{"role": "user", "content": text}]
    rendered = [tok.apply_chat_template(talk(t), tokenize=False, add_generation_prompt=True, **arguments) for t in texts]
    good = report(f"chat text {config}", texts, [r["text"] for r in rows], rendered)
    # Special tokens in a message are text for us and special for the reference, by intent.
    specials = [t.content for t in tok.added_tokens_decoder.values() if t.special]
    plain = [i for i, t in enumerate(texts) if not any(s in t for s in specials)]
    reference = [tok.apply_chat_template(talk(texts[i]), add_generation_prompt=True, return_dict=False, **arguments) for i in plain]
    return report(f"chat ids {config}", [texts[i] for i in plain], [rows[i]["token_ids"] for i in plain], reference) and good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="tokenizer_tool of the build")
    parser.add_argument("--gsm8k", required=True, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--no-chat", action="store_true", help="for a folder without a chat template")
    parser.add_argument("model", nargs="?", default=os.environ.get("PAN_TEST_MODEL"))
    args = parser.parse_args()
    if not args.model:
        parser.error("give a model folder or set PAN_TEST_MODEL")
    args.model = pathlib.Path(args.model)
    texts = all_texts(args.gsm8k)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        (work / "in.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
        good = check_tokenize(args, texts, work)
        if not args.no_chat:
            good = check_chat(args, texts, work, {}) and good
        jinja = args.model / "chat_template.jinja"
        if not args.no_chat and jinja.exists() and "enable_thinking" in jinja.read_text():
            good = check_chat(args, texts, work, {"enable_thinking": False}, enable_thinking=False) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
