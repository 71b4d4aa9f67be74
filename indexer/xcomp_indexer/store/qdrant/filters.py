"""Translates filters to those of the Qdrant client. Does not depend on a connection."""

from datetime import datetime

from qdrant_client import models

from xcomp_indexer.store import And, Filter, Ids, InSpace, Match, Missing, Not, Or, Range

_Condition = models.FieldCondition | models.HasIdCondition | models.HasVectorCondition | models.IsEmptyCondition


def translate(part: Filter) -> models.Filter:
    """Translates a filter that `check.where` returned."""
    if isinstance(part, And):
        return models.Filter(must=[translate(each) for each in part.parts])
    if isinstance(part, Or):
        return models.Filter(should=[translate(each) for each in part.parts])
    if isinstance(part, Not):
        return models.Filter(must_not=[translate(part.part)])
    return models.Filter(must=[_condition(part)])


def _condition(part: Match | Range | Ids | InSpace | Missing) -> _Condition:
    if isinstance(part, Match):
        return models.FieldCondition(key=part.key, match=_match(part))
    if isinstance(part, Range):
        return models.FieldCondition(key=part.key, range=_range(part))
    if isinstance(part, Ids):
        return models.HasIdCondition(has_id=sorted(part.ids))
    if isinstance(part, InSpace):
        return models.HasVectorCondition(has_vector=part.space)
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=part.key))


def _match(part: Match) -> models.MatchAny:
    texts = [value for value in part.values if isinstance(value, str)]
    return models.MatchAny(any=texts or [value for value in part.values if isinstance(value, int)])


def _range(part: Range) -> models.Range | models.DatetimeRange:
    bounds = {"gt": part.gt, "gte": part.gte, "lt": part.lt, "lte": part.lte}
    dates = {name: datetime.fromisoformat(bound) for name, bound in bounds.items() if isinstance(bound, str)}
    if dates:
        return models.DatetimeRange(**dates)
    return models.Range(**{name: bound for name, bound in bounds.items() if isinstance(bound, int | float)})
