#!/usr/bin/env python3
"""A reward for pan-ppo without C++: reads requests and writes rewards, one JSON object a line.

    pan-ppo train --config FILE --set 'reward.command=["python3", "docs/examples/reward_command.py"]'

Try it by hand:

    echo '{"id": 0, "prompt": "2+2?", "response": "It is 4", "answer": "4", "left": 0}' | python3 docs/examples/reward_command.py

Request:  id, prompt, response (the model's text), answer (the right one, as the data has it), problem (its name),
          group, left (how many lines of the batch are still to come: 0 = this is the last).
Answer:   reward (a finite number); and, as you like, terms (numbers by name, logged as reward/NAME/mean), correct
          (true or false, for the accuracy) and id (the request's). Answers without an id are taken in the order of
          the requests; with ids on all of them they may come in any order.

The program is started once and answers until its input ends. Anything for a person goes to stderr.
"""

import json
import sys

MAX_WORDS = 200


def score(request):
    response = request["response"].strip()
    answer = request["answer"].strip()
    exact = float(response == answer)
    contains = float(answer != "" and answer in response)
    too_long = float(len(response.split()) > MAX_WORDS)
    reward = exact + 0.5 * contains - 0.1 * too_long
    return {"reward": reward, "terms": {"exact": exact, "contains": contains, "too_long": too_long}}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        # A reward model would collect requests until request["left"] == 0 and score them together.
        reply = {"id": request["id"], **score(request)}
        # Without flush the line stays in a buffer and the trainer waits in vain.
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
