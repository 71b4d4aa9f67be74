"""Translates filters to those of the embedded engine. Does not depend on a shard."""

import qdrant_edge as qe

from xcomp_indexer.store import And, Filter, Ids, InSpace, Match, Missing, Not, Or, Range


def translate(part: Filter) -> qe.Filter:
    """Translate a filter that `validate.where` returned."""
    if isinstance(part, And):
        return qe.Filter(must=[translate(each) for each in part.parts])
    if isinstance(part, Or):
        return qe.Filter(should=[translate(each) for each in part.parts])
    if isinstance(part, Not):
        return qe.Filter(must_not=[translate(part.part)])
    return qe.Filter(must=[_condition(part)])


def _condition(
    part: Match | Range | Ids | InSpace | Missing,
) -> qe.FieldCondition | qe.HasIdCondition | qe.HasVectorCondition | qe.IsEmptyCondition:
    if isinstance(part, Match):
        return qe.FieldCondition(part.key, match=_match(part))
    if isinstance(part, Range):
        return qe.FieldCondition(part.key, range=_range(part))
    if isinstance(part, Ids):
        return qe.HasIdCondition(set(part.ids))
    if isinstance(part, InSpace):
        return qe.HasVectorCondition(part.space)
    return qe.IsEmptyCondition(part.key)


def _match(part: Match) -> qe.MatchAny:
    texts = [value for value in part.values if isinstance(value, str)]
    return qe.MatchAny(texts or [value for value in part.values if isinstance(value, int)])


def _range(part: Range) -> qe.RangeFloat | qe.RangeDateTime:
    bounds = {"gt": part.gt, "gte": part.gte, "lt": part.lt, "lte": part.lte}
    dates = {name: bound for name, bound in bounds.items() if isinstance(bound, str)}
    if dates:
        return qe.RangeDateTime(**dates)
    return qe.RangeFloat(**{name: bound for name, bound in bounds.items() if isinstance(bound, int | float)})
