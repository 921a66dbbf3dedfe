"""Which models may run together, as a plan says: its routing, and addresses that only one can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from modelswap.config.plan import Groups, Matrix
from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import all_of, apart

from .addresses import listening

if TYPE_CHECKING:
    from modelswap.config.plan import Plan
    from modelswap.core.placement.policy import Policy

DEFAULT_GROUP: Final = "(default)"


def policy_of(plan: Plan) -> Policy:
    """Return who must leave for whom, as the configuration says."""
    return all_of(routing_policy(plan), apart(listening(plan.models)))


def routing_policy(plan: Plan) -> Policy:
    """Return who must leave for whom by groups, matrix or early profiles alone."""
    from modelswap.core.placement.matrix import (  # noqa: PLC0415 - most files have no matrix
        compile_matrix,
        legacy_profiles_policy,
        matrix_policy,
    )

    match plan.routing:
        case Matrix() as matrix:
            return matrix_policy(
                compile_matrix(
                    variables=matrix.vars,
                    sets=matrix.sets,
                    costs=matrix.evict_costs,
                    models=plan.models.keys(),
                )
            )
        case Groups(groups=groups):
            if plan.legacy_profiles and all(g.id == DEFAULT_GROUP for g in groups):
                return legacy_profiles_policy(plan.legacy_profiles)
            return groups_policy(groups)
        case _ as never:
            assert_never(never)
