"""The accounting agrees with integrals and with other accountants, and a budget is never passed."""

import math
from decimal import MAX_EMAX, Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import PrivacyInvalid
from federation.privacy import ORDERS, Budget, RowPrivacy, Spent, Step, renyi, rounds_left, step_of

# (q, sigma, steps, delta) -> epsilon by dp-accounting 0.6.0: RdpAccountant at the orders of
# this package, and PLDAccountant, which is close to the truth (run on 2026-11-27).
THEIRS = {
    (0.01, 1.1, 1_000, 1e-5): (1.7252908180449444, 1.5153702482034066),
    (256 / 60_000, 1.1, 60 * 235, 1e-5): (2.6007181389425194, 2.3852107896956682),
    (0.1, 2.0, 100, 1e-6): (2.9155929057381087, 2.67503574005599),
    (1.0, 4.0, 10, 1e-5): (3.6278518728252274, 3.3414095176228638),
    (0.02, 0.8, 500, 1e-5): (5.397018914477776, 4.668013364473384),
    (0.001, 0.6, 10_000, 1e-7): (5.037048382779299, 3.8449559569709373),
}
STEP = Step(0.01, 1.1)


@pytest.mark.parametrize("case", THEIRS)
def test_it_gives_what_another_accountant_gives(case: tuple[float, float, int, float]) -> None:
    q, sigma, steps, delta = case
    theirs, truth = THEIRS[case]
    ours = Spent().after(Step(q, sigma), steps).epsilon(delta)
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert truth < ours < 1.35 * truth


def integral(q: float, sigma: float, order: int) -> float:
    """R(order) as its definition says: E over N(0, sigma^2) of the likelihood ratio's power."""
    width, points = 12 * sigma + 3 * order, 40_000
    height = 2 * width / points
    total = 0.0
    for number in range(points + 1):
        x = -width + number * height
        density = math.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
        ratio = math.log(1 - q + q * math.exp((2 * x - 1) / (2 * sigma**2)))
        if density:
            total += height * density * math.exp(order * ratio)
    return math.log(total) / (order - 1)


@pytest.mark.parametrize("q", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
@pytest.mark.parametrize("order", [2, 3, 8, 16])
def test_the_divergence_is_the_integral_of_its_definition(
    q: float, sigma: float, order: int
) -> None:
    assert renyi(Step(q, sigma), order) == pytest.approx(integral(q, sigma, order), rel=1e-6)


@pytest.mark.parametrize(
    ("q", "sigma"), [(1e-5, 300.0), (1e-6, 50.0), (0.001, 1e5), (0.3, 1.5), (1e-4, 0.3)]
)
@pytest.mark.parametrize("order", [2, 3, 64, 1024])
def test_no_step_is_free_by_rounding(q: float, sigma: float, order: int) -> None:
    """The sum of the formula with 60 digits, where floats would lose a small step whole."""
    with localcontext() as context:
        context.prec, context.Emax = 60, MAX_EMAX
        rate, variance = Decimal(q), 2 * Decimal(sigma) ** 2
        total = sum(
            math.comb(order, k)
            * (1 - rate) ** (order - k)
            * rate**k
            * (Decimal(k * k - k) / variance).exp()
            for k in range(order + 1)
        )
        exact = Decimal(total).ln() / (order - 1)
        told = Decimal(renyi(Step(q, sigma), order))
    assert exact <= told <= exact * (1 + Decimal("1e-9"))


def exact_delta(epsilon: float, sigma: float) -> float:
    """The Gaussian mechanism without sampling, exactly (Balle and Wang, 2018, theorem 8)."""

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    half = 1 / (2 * sigma)
    return phi(half - epsilon * sigma) - math.exp(epsilon) * phi(-half - epsilon * sigma)


@pytest.mark.parametrize("sigma", [0.8, 1.5, 4.0, 20.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
def test_it_bounds_the_exact_privacy_of_the_gaussian_from_above_and_closely(
    sigma: float, delta: float
) -> None:
    told = Spent().after(Step(1.0, sigma)).epsilon(delta)
    assert exact_delta(told, sigma) <= delta
    assert exact_delta(0.8 * told, sigma) > delta


def test_full_sampling_is_the_limit_of_sampling() -> None:
    assert renyi(Step(1 - 1e-12, 2.0), 8) == pytest.approx(renyi(Step(1.0, 2.0), 8), rel=1e-6)


rates = st.floats(1e-6, 1)
noises = st.floats(0.1, 50)


@given(rates, noises, st.integers(1, 10_000), st.floats(1e-12, 0.1))
@settings(max_examples=40, deadline=None)
def test_more_steps_more_rows_and_less_noise_never_spend_less(
    q: float, sigma: float, steps: int, delta: float
) -> None:
    spent = Spent().after(Step(q, sigma), steps).epsilon(delta)
    assert 0 <= spent < math.inf
    assert Spent().after(Step(q, sigma), steps + 1).epsilon(delta) >= spent
    assert Spent().after(Step(min(1.0, 1.1 * q), sigma), steps).epsilon(delta) >= spent * 0.999999
    assert Spent().after(Step(q, sigma / 1.1), steps).epsilon(delta) >= spent * 0.999999
    assert Spent().after(Step(q, sigma), steps).epsilon(delta / 2) >= spent


def test_different_steps_add_up_in_any_order() -> None:
    other = Step(0.1, 2.0)
    one = Spent().after(STEP, 500).after(other, 10).after(STEP, 500)
    two = Spent().after(other, 10).after(STEP, 1_000)
    assert one.epsilon(1e-5) == two.epsilon(1e-5)
    assert one.epsilon(1e-5) < Spent().after(STEP, 1_000).epsilon(1e-5) + Spent().after(
        other, 10
    ).epsilon(1e-5)


def test_nothing_is_spent_before_the_first_step() -> None:
    assert Spent().epsilon(1e-5) == 0
    assert Spent().after(STEP, 0).epsilon(1e-5) == 0


@given(rates, st.floats(0.4, 20), st.floats(0.2, 20), st.floats(1e-9, 0.01))
@settings(max_examples=25, deadline=None)
def test_a_budget_stops_at_the_last_step_that_fits(
    q: float, sigma: float, epsilon: float, delta: float
) -> None:
    budget, step = Budget(epsilon, delta), Step(q, sigma)
    left = budget.steps_left(Spent(), step)
    whole = Spent().after(step, left)
    assert whole.epsilon(delta) <= epsilon
    if left < 10**11:
        assert not budget.allows(Spent(), step, left + 1)
        assert budget.steps_left(whole, step) == 0


def test_a_campaign_stops_before_the_round_that_would_overspend() -> None:
    privacy = RowPrivacy("2", "0.00001", "1.1", "1", "0.01", 100)
    spent, rounds = Spent(), 0
    budget, step = Budget.of(privacy), step_of(privacy)
    wanted = rounds_left(privacy, spent)
    while budget.allows(spent, step, privacy.steps_per_round):
        spent, rounds = spent.after(step, privacy.steps_per_round), rounds + 1
    assert rounds == wanted > 5
    assert spent.epsilon(budget.delta) <= budget.epsilon
    assert rounds_left(privacy, spent) == 0


@pytest.mark.parametrize(
    "act",
    [
        lambda: Step(0, 1),
        lambda: Step(1.1, 1),
        lambda: Step(math.nan, 1),
        lambda: Step(0.1, 0),
        lambda: Step(0.1, math.nan),
        lambda: Step(0.1, math.inf),
        lambda: Budget(0, 1e-5),
        lambda: Budget(math.inf, 1e-5),
        lambda: Budget(math.nan, 1e-5),
        lambda: Budget(1, 0),
        lambda: Budget(1, 1),
        lambda: Spent().after(STEP, -1),
        lambda: Spent().epsilon(0),
        lambda: Spent().epsilon(math.nan),
        lambda: renyi(STEP, 1),
    ],
    ids=range(15),
)
def test_what_no_accounting_takes_is_refused(act: object) -> None:
    with pytest.raises(PrivacyInvalid):
        act()  # type: ignore[operator]


def test_the_largest_order_stays_finite() -> None:
    assert all(math.isfinite(renyi(Step(0.5, 0.01), order)) for order in ORDERS)
