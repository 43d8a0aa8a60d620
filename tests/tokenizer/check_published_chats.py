#!/usr/bin/env python3
"""Compares our chat templates with published ones in Jinja files, as transformers renders them: text of the conversations of
make_real_chats.py with and without the start of an answer, and ids by the small tokenizers of the fixtures. Exits 1 at a difference.

    check_published_chats.py --tool build/release/src/tokenizer/tokenizer_tool FILE.jinja ...

Files with "llama" in their name go with the tokenizer llama3/, others with qwen/. Each is recognised by its text, as in a model
folder. The PyPI source archive of llama_cpp_python holds such files (vendor/llama.cpp/models/templates). Needs transformers.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from transformers import PreTrainedTokenizerFast

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures/tokenizer"
sys.path.insert(0, str(FIXTURES))
from make_real_chats import TALKS  # noqa: E402


def ours(tool, folder, cases, config):
    with tempfile.TemporaryDirectory() as work:
        source, out = pathlib.Path(work, "in"), pathlib.Path(work, "out")
        source.write_text("".join(json.dumps({"messages": talk, "start": start}) + "\n" for talk, start in cases))
        done = subprocess.run([tool, "chat", folder, source, out, json.dumps(config)], text=True, capture_output=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        return [json.loads(line) for line in out.read_text().splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    good = True
    for file in args.files:
        text, small = file.read_text(), "llama3" if "llama" in file.name.lower() else "qwen"
        reference = PreTrainedTokenizerFast(tokenizer_file=str(FIXTURES / small / "tokenizer.json"), chat_template=text,
                                            bos_token="<|begin_of_text|>" if small == "llama3" else None)
        special = ["<|", *reference.get_added_vocab()]
        with tempfile.TemporaryDirectory() as work:
            folder = pathlib.Path(work, "model")
            shutil.copytree(FIXTURES / small, folder)
            config_file = folder / "tokenizer_config.json"
            settings = json.loads(config_file.read_text()) if config_file.exists() else {}
            config_file.write_text(json.dumps({**settings, "chat_template": text}))
            for thinking in (True, False) if "enable_thinking" in text else (True,):
                cases = [(talk, start) for talk in TALKS for start in (True, False)]
                setting = {} if thinking else {"enable_thinking": False}
                pinned = {"date_string": "26 Jul 2024"} if "date_string" in text else {}  # Llama 3.2 writes today
                rows = ours(args.tool, folder, cases, setting)
                texts = ids = compared = 0
                for (talk, start), row in zip(cases, rows):
                    want = reference.apply_chat_template(talk, tokenize=False, add_generation_prompt=start, **setting, **pinned)
                    texts += row["text"] == want
                    if row["text"] != want:
                        print(f"  ours      {row['text']!r}\n  reference {want!r}")
                    if any(s in m["content"] for m in talk for s in special):
                        continue  # ordinary text for us, special for the reference, by intent
                    compared += 1
                    want = reference.apply_chat_template(talk, add_generation_prompt=start, return_dict=False, **setting, **pinned)
                    ids += row["token_ids"] == want
                print(f"{file.name}{'' if thinking else ', thinking off'}: {texts} of {len(cases)} texts, "
                      f"{ids} of {compared} lists of ids equal")
                good = good and texts == len(cases) == len(rows) and ids == compared
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
