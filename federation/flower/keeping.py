"""What a member keeps of each campaign between its rounds: a file each, held by one answer.

A campaign that does another's rounds anew goes on with what is kept of that. The other one is
marked with its name before anything is spent, and never goes on: else both would spend one budget.
"""

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from federation import reading
from federation.board import SignedCampaign
from federation.errors import FederationError, Malformed
from federation.flower.locks import WAIT_SECONDS, held
from federation.flower.places import make_private, write_private
from federation.flower.refusals import AnswerUnderWay, CampaignFollowed, RoundRepeated
from federation.flower.settings import MemberHome, SettingsWrong
from federation.guard import Before
from federation.rollout import STAGES

_LINKS: Final = ("follows", "followed_by")


@dataclass(frozen=True)
class Kept:
    """A campaign as it is kept: which one it began with, and which one has begun with it."""

    before: Before
    follows: str | None = None
    followed_by: str | None = None

    def to_json(self) -> dict[str, Any]:
        """It as a JSON object."""
        links = {name: getattr(self, name) for name in _LINKS}
        return self.before.to_json() | {name: one for name, one in links.items() if one}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` gave. Raises what `Before.from_json` does."""
        if not isinstance(value, dict):
            raise Malformed("what is kept of a campaign is an object")
        links = {name: reading.digest(value, name) for name in _LINKS if name in value}
        rest = {name: one for name, one in value.items() if name not in _LINKS}
        return cls(Before.from_json(rest), **links)


class Keeping:
    """What one answer reads and keeps."""

    def __init__(self, home: MemberHome, wait: float = WAIT_SECONDS) -> None:
        """Of the member of these settings; another answer is waited for so many seconds."""
        self._home, self._wait = home, wait
        self._alone = ExitStack()
        self._old: Kept | None = None

    def begin(self, signed: SignedCampaign) -> Before:
        """What is kept of the last round.

        From here to `close` no other answer of this campaign goes on, nor of the one that it
        follows: two would each begin with what the other has not kept yet, and both spend one
        round's budget. Raises `SettingsWrong`, `CampaignFollowed`, `AnswerUnderWay`.
        """
        campaign = signed.campaign_hash
        self._hold(campaign)
        kept, old = self._read(campaign), self._home.follows.get(campaign)
        if kept is not None:
            self._check_goes_on(kept, old)
            return kept.before
        if old is None:
            return Before.first(signed, self._home.member)
        self._hold(old)
        found = self._read(old)
        if found is None:
            # Beginning with nothing would spend more.
            raise SettingsWrong(
                f"{self._home.file}: [follows] names {old}, of which no round is kept here"
            )
        if found.followed_by not in {None, campaign}:
            raise _followed(found)
        self._old = found
        return found.before.into(signed)

    def keep(self, before: Before) -> None:
        """Keep it durably. Raises `RoundRepeated` where what is kept is no earlier round."""
        kept = self._read(before.campaign)
        if kept is None:
            kept = Kept(before)
            if self._old is not None:
                # First: a crash between the two spends nothing.
                self._write(replace(self._old, followed_by=before.campaign))
                kept = replace(kept, follows=self._old.before.campaign)
        elif kept.followed_by is not None:
            raise _followed(kept)
        elif _place(before) <= _place(kept.before):
            raise RoundRepeated(f"{before.stage} round {before.number} has been kept already")
        self._write(replace(kept, before=before))

    def close(self) -> None:
        """Let the next answer go on."""
        self._alone.close()

    def _check_goes_on(self, kept: Kept, old: str | None) -> None:
        if kept.followed_by is not None:
            raise _followed(kept)
        if old is not None and kept.follows != old:
            began = kept.follows or "nothing"
            raise SettingsWrong(
                f"{self._home.file}: [follows] names {old}, and this campaign began with {began}: "
                "the line came too late, and what was spent of both would not be added up. Have "
                "the board sign another campaign, and write its line before it is started"
            )

    def _hold(self, campaign: str) -> None:
        file = self._home.before(campaign)
        make_private(file.parent)
        busy = AnswerUnderWay("an earlier round is still answered here")
        self._alone.enter_context(held(file.with_suffix(".lock"), busy, self._wait))

    def _read(self, campaign: str) -> Kept | None:
        file = self._home.before(campaign)
        if not file.exists():
            return None
        try:
            kept = Kept.from_json(json.loads(file.read_bytes()))
            if kept.before.campaign != campaign:
                raise Malformed("it is of another campaign")
        except (FederationError, ValueError, RecursionError):
            raise SettingsWrong(
                f"{file} cannot be read: take it from a copy. Beginning anew would show who left"
            ) from None
        return kept

    def _write(self, kept: Kept) -> None:
        file = self._home.before(kept.before.campaign)
        make_private(file.parent)
        write_private(file, json.dumps(kept.to_json()).encode())


def _followed(kept: Kept) -> CampaignFollowed:
    return CampaignFollowed(
        f"the campaign {kept.before.campaign} is done anew by {kept.followed_by} and goes on no "
        "more: one that does that one's rounds anew follows it instead"
    )


def _place(kept: Before) -> tuple[int, int]:
    """Which of two rounds of a campaign is the later one."""
    return ("", *STAGES).index(kept.stage), kept.number
