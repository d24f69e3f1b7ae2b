"""LiteLLM against a running server: prints one JSON object of what happened."""

import json
import os
import sys
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no request leaves this machine

import litellm
import openai

url, out = sys.argv[1:]
here = {"model": "openai/tts-1", "api_base": url, "api_key": "none"}
reply = litellm.speech(voice="alloy", input="The quick brown fox.", response_format="wav", **here)
Path(out).write_bytes(reply.content)
try:
    litellm.speech(voice="nobody", input="x", max_retries=0, **here)
    said = ""
except openai.NotFoundError as error:
    said = str(error)
print(json.dumps({"said": said}))
