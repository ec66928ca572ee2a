"""Plain text with speakers at the beginning of lines: `User: …`, `Assistant: …`."""

from __future__ import annotations

import re

from greenroom.reader.transcripts.transcript import Draft, Unreadable

# Also in bold, as pasted from a page. A system text is recognised only before anybody has spoken.
_SPEAKER = re.compile(r"^[*_#> ]{0,4}(system|user|human|assistant|ai)[*_ ]{0,3}:[*_]{0,3}[ \t]*", re.IGNORECASE)


def plain_messages(text: str) -> Draft:
    """The conversation of a text. Raises Unreadable when no line begins with a speaker."""
    draft, speaker, said = Draft(), "", list[str]()
    for line in text.lstrip("\ufeff").splitlines():
        found = _SPEAKER.match(line)
        if found and (found.group(1).lower() != "system" or not speaker):
            if speaker:
                draft.say(speaker, "\n".join(said).strip())
            speaker, said = found.group(1).lower(), [line[found.end() :]]
        elif speaker:
            said.append(line)
        elif line.strip():
            draft.skipped["other"] += 1  # lines before the first speaker: a title, a date
    if not speaker:
        raise Unreadable("no line begins with `User:` or `Assistant:`")
    draft.say(speaker, "\n".join(said).strip())
    return draft
