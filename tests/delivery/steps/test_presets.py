from __future__ import annotations

from dataclasses import replace

from millpond.delivery.steps.presets import PRESETS, Ask

SESSION = "6b0c2d8e-0000-4000-8000-000000000000"


def test_claude_with_and_without_budgets():
    plain = PRESETS["claude"].argv(Ask(SESSION))
    assert plain == [
        *("claude", "-p", "--output-format", "stream-json", "--verbose"),
        *("--session-id", SESSION, "--permission-mode", "acceptEdits"),
    ]
    full = PRESETS["claude"].argv(Ask(SESSION, 7, 0.5, "small", ["--permission-mode", "plan"]))
    assert full[7:] == [
        *("--max-turns", "7", "--max-budget-usd", "0.50", "--model", "small", "--permission-mode", "plan"),
    ]


def test_less_than_a_cent_is_not_written_as_nothing():
    words = PRESETS["claude"].argv(Ask(SESSION, usd=0.004))
    assert words[words.index("--max-budget-usd") + 1] == "0.004000"


def test_codex_reads_its_prompt_from_the_standard_input():
    assert PRESETS["codex"].argv(Ask(SESSION, 7, 0.5, "small")) == [
        *("codex", "exec", "--json", "--model", "small", "--sandbox", "workspace-write", "-"),
    ]


def test_a_program_in_the_place_of_the_preset_s_own_keeps_its_ways():
    other = replace(PRESETS["codex"], program=("wrap", "codex"))
    assert other.argv(Ask(SESSION))[:4] == ["wrap", "codex", "exec", "--json"]
    assert replace(PRESETS["command"], program=("do", "it")).argv(Ask(SESSION, 7, 0.5)) == ["do", "it"]
