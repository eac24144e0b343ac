"""A stand-in for a coding agent: writes what the real ones write, and misbehaves as it is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LOST = "stream disconnected before completion"


def say(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def claude(subtype: str = "success", text: str = "All is done.", **more: object) -> None:
    session = sys.argv[sys.argv.index("--session-id") + 1]
    say(type="system", subtype="init", session_id=session, tools=["Bash"])
    say(type="assistant", message={"id": "m1", "content": [{"type": "text", "text": "I look."}]})
    bash = {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}
    say(type="assistant", message={"id": "m1", "content": [bash]})
    say(type="user", message={"content": [{"type": "tool_result", "content": '{"type":"result"}'}]})
    result = {"result": text, "session_id": session, "num_turns": 3, "total_cost_usd": 0.25, "is_error": False}
    say(type="result", subtype=subtype, **{**result, **more})


def codex(end: str = "turn.completed", **more: object) -> None:
    sys.stderr.write("progress\n")
    say(type="thread.started", thread_id="t1")
    say(type="turn.started")
    say(type="item.started", item={"id": "i0", "type": "command_execution", "command": "ls"})
    say(type="item.completed", item={"id": "i0", "type": "command_execution", "command": "ls", "exit_code": 0})
    say(type="item.completed", item={"id": "i1", "type": "agent_message", "text": "All is done."})
    usage = {"input_tokens": 1_000_000, "cached_input_tokens": 500_000, "output_tokens": 100_000}
    say(type=end, usage=usage, **more)


def left(name: str, text: str = "x") -> None:
    Path(name).write_text(text)


def loop(command: str, times: int) -> None:
    for number in range(times):
        bash = {"type": "tool_use", "name": "Bash", "input": {"command": command.replace("N", str(number))}}
        say(type="assistant", message={"id": f"m{number}", "content": [bash]})
        time.sleep(0.005)
    time.sleep(1000)


def main(mode: str) -> None:  # noqa: C901, PLR0912 - a case for each
    prompt = sys.stdin.read()
    left("prompt", prompt)
    left("argv", json.dumps(sys.argv[2:]))
    match mode:
        case "good":
            claude()
        case "frugal":
            most_usd = float(sys.argv[sys.argv.index("--max-budget-usd") + 1])
            claude(total_cost_usd=min(0.3, most_usd))
        case "hangs":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            server = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={})
            left("server", str(server.pid))
            claude()
            while True:
                time.sleep(1)
        case "silent":
            sys.exit(0)
        case "mumbles":
            sys.stdout.write("no result\n")
        case "crashes":
            say(type="assistant", message={"id": "m1", "content": []})
            sys.exit(1)
        case "turns":
            claude("error_max_turns")
        case "asks":
            claude(text="I stopped.\n\nQUESTION: which colour?")
        case "overloaded":
            claude("error_during_execution", "API Error: 529 overloaded", is_error=True)
        case "breaks":
            claude("error_during_execution", "it can't be", is_error=True)
        case "repeats":
            loop("make test", 200)
        case "wanders":
            loop("look N", 200)
        case "stalls":
            say(type="assistant", message={"id": "m1", "content": []})
            time.sleep(1000)
        case "waits":
            while not Path(os.environ["HOME"], "..", "go").exists():
                time.sleep(0.05)
            claude()
        case "tells":
            sys.stdout.write(json.dumps(dict(os.environ)) + "\n")
            sys.stderr.write(os.environ["AGENT_KEY"] + os.environ["POND"] + "\n")
            claude()
        case "codex":
            codex()
        case "codex-hangs":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            server = subprocess.Popen(["sleep", "1000"], start_new_session=True, env={})
            left("server", str(server.pid))
            codex()
            while True:
                time.sleep(1)
        case "codex-crashes":
            say(type="thread.started", thread_id="t1")
            say(type="turn.started")
            sys.exit(1)
        case "codex-fails":
            codex("turn.failed", error={"message": f"{LOST}: error sending request for url (https://api.example/v1)"})
        case "codex-reconnects":
            say(type="error", message=f"Reconnecting... 1/5 ({LOST}: error sending request)")
            codex()
        case "codex-gives-up":
            say(type="error", message=f"Reconnecting... 5/5 ({LOST}: error sending request)")
            sys.exit(1)
        case "plain":
            sys.stdout.write("worked\n")
        case "plain-asks":
            sys.stdout.write("QUESTION: what I wondered at first\n" + "worked\n" * 9)
            sys.stdout.write("QUESTION: which colour, red or blue?\nI stop here.\n")
        case "plain-echoes":
            sys.stdout.write("QUESTION: what you need to know\n")
        case "plain-tells":
            sys.stdout.write("QUESTION: which colour?\n")
            say(type="result", total_cost_usd=0.9)
        case "plain-breaks":
            sys.stdout.write("QUESTION: which colour?\n")
            sys.exit(1)


main(sys.argv[1])
