"""Characters as data: roles, traits, contexts and questions, and the library that holds them (no torch)."""

from __future__ import annotations

from greenroom.personas import library as library
from greenroom.personas.persona import Context, Question, Role, Trait, TraitPair, TraitQuestion

__all__ = ["Context", "Question", "Role", "Trait", "TraitPair", "TraitQuestion", "library"]
