#!/usr/bin/env python3
"""transformers' side of external_test.cpp. Needs torch, transformers and safetensors.

  transformers_check.py logits MODEL OUT.safetensors [float32|bfloat16]   tokens [2, 48] and logits of a causal language model
  transformers_check.py policy FOLDER EXPECTED.safetensors                AutoModelForCausalLM gives EXPECTED's logits
  transformers_check.py critic FOLDER EXPECTED.safetensors                AutoModelForTokenClassification gives its values
  transformers_check.py adapter FOLDER EXPECTED.safetensors ADAPTER       as policy, with PEFT's adapter ADAPTER on FOLDER
  transformers_check.py critic_adapter FOLDER EXPECTED.safetensors ADAPTER     as critic, the head being part of ADAPTER
All but the first print the largest difference and exit with 1 where the values differ. The adapters need peft.
"""
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification


def load(kind, folder, dtype=torch.float32):
    model, info = kind.from_pretrained(folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    wrong = {k: v for k, v in info.items() if v}
    if wrong:
        sys.exit(f"{folder} does not load cleanly: {wrong}")
    return model.eval()


def compare(got, expected, what):
    difference = (got - expected).abs().max().item()
    print(f"{what}: largest difference {difference:.3g} of values up to {expected.abs().max().item():.3g}")
    sys.exit(0 if difference < 2e-4 else 1)


def main():
    if len(sys.argv) < 4:
        print(__doc__)
        return 0 if "--help" in sys.argv else 2
    command, folder, path = sys.argv[1:4]
    with torch.no_grad():
        if command == "logits":
            dtype = getattr(torch, sys.argv[4]) if len(sys.argv) > 4 else torch.float32
            model = load(AutoModelForCausalLM, folder, dtype)
            tokens = torch.randint(0, model.config.vocab_size, (2, 48), generator=torch.Generator().manual_seed(5))
            save_file({"tokens": tokens, "logits": model(tokens).logits.float().contiguous()}, path)
        elif command == "policy":
            expected = load_file(path)
            compare(load(AutoModelForCausalLM, folder)(expected["tokens"]).logits, expected["logits"], "logits")
        elif command == "critic":
            expected = load_file(path)
            model = load(AutoModelForTokenClassification, folder)
            if model.config.num_labels != 1:
                sys.exit(f"expected one label, got {model.config.num_labels}")
            compare(model(expected["tokens"]).logits.squeeze(-1), expected["values"], "values")
        elif command in ("adapter", "critic_adapter"):
            from peft import PeftModel

            expected = load_file(path)
            if command == "adapter":
                model = PeftModel.from_pretrained(load(AutoModelForCausalLM, folder), sys.argv[4]).eval()
                compare(model(expected["tokens"]).logits, expected["logits"], "logits with the adapter")
            else:
                base = AutoModelForTokenClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
                model = PeftModel.from_pretrained(base, sys.argv[4]).eval()
                compare(model(expected["tokens"]).logits.squeeze(-1), expected["values"], "values with the adapter")
        else:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
