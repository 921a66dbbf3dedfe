"""From a plan to the policy of the core: which models may run together, and at which addresses.

Guarantees: this is the only place where a plan's routing becomes a policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from modelswap.config.commands.addresses import listening
from modelswap.config.plan import DEFAULT_GROUP, Groups, Matrix
from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import PlacementPlan, Question, all_of, apart, unrestricted

if TYPE_CHECKING:
    from modelswap.config.plan import Plan
    from modelswap.core.placement.policy import Policy
    from modelswap.core.spec import ModelId


def compile_policy(plan: Plan) -> Policy:
    """Join what the routing says with the addresses that only one model can have, `modelsMax` and memory.

    Memory comes last: it counts as free what the others evict.
    """
    return all_of(
        routing_policy(plan), apart(listening(plan.models)), _by_number(plan), _by_memory(plan)
    )


def _by_number(plan: Plan) -> Policy:
    if not plan.settings.models_max:
        return unrestricted
    from modelswap.core.placement.at_most import at_most  # noqa: PLC0415 - few files have a bound

    groups = plan.routing.groups if isinstance(plan.routing, Groups) else ()
    staying = {model for group in groups if group.persistent for model in group.members}
    staying |= {name for name, model in plan.models.items() if model.pinned}
    return at_most(plan.settings.models_max, staying)


def _by_memory(plan: Plan) -> Policy:
    if plan.memory is None:
        return unrestricted
    from modelswap.core.placement.memory.memory_policy import (  # noqa: PLC0415 - not for files of llama-swap
        memory_policy,
    )

    pinned = [name for name, model in plan.models.items() if model.pinned]
    return memory_policy(plan.memory, pinned)


def routing_policy(plan: Plan) -> Policy:
    """Say which model has to leave for which by groups, matrix or early profiles alone."""
    match plan.routing:
        case Matrix() as matrix:
            from modelswap.core.placement.matrix import (  # noqa: PLC0415 - most files have no matrix
                compile_matrix,
                matrix_policy,
            )

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
                from modelswap.core.placement.matrix import (  # noqa: PLC0415 - as above
                    legacy_profiles_policy,
                )

                return legacy_profiles_policy(plan.legacy_profiles)
            return groups_policy(groups)
        case _ as never:
            assert_never(never)


def may_run_together(policy: Policy, one: ModelId, other: ModelId) -> bool:
    """Tell whether either model can start while the other one runs."""
    answers = (policy(Question(one, [other])), policy(Question(other, [one])))
    return any(isinstance(answer, PlacementPlan) and not answer.evictions for answer in answers)
