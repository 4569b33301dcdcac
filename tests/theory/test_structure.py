"""What structure does to the Gauss-Newton matrix, and what a rank says of the next step."""

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from theory_jacobians import outputs_and_jacobian, pairs_of, two_layer_hessian
from theory_networks import network, numerical_rank, with_weights
from theory_profile import broken, COUNTS, tried

from spectral import models, theory
from spectral.curvature import Risk, SoftmaxCrossEntropy, SquaredError
from spectral.theory import strategies
from spectral.theory.strategies._problems import descended


pytestmark = pytest.mark.usefixtures("float64")


def linear_outputs(params, inputs):
    return inputs @ params


# --- The gradient and the eps-rank -------------------------------------------------------------


def kernel_and_residual(matrix, residual):
    """Of a linear model f(x) = x . theta with N = 4 and half the squared error."""
    kernel = matrix @ matrix.T / 4
    values, vectors = np.linalg.eigh(kernel)
    return np.maximum(values, 0), (vectors.T @ residual) ** 2 / 4


@COUNTS
def test_the_gradient_lies_between_its_bounds(count):
    @tried(
        count, strategies.numbers(4, 3), strategies.numbers(4), st.sampled_from([0, 0.1, 0.5, 2])
    )
    def holds(matrix, residual, epsilon):
        values, energies = kernel_and_residual(matrix, residual)
        truth, loss = np.sum((matrix.T @ residual / 4) ** 2), np.sum(residual**2) / 8
        low, high = theory.gradient_bounds(values, energies, epsilon=epsilon)
        rounding = 1e-12 * (1 + truth)
        assert low - rounding <= truth <= high + rounding
        above = np.sum(energies[values > epsilon])
        assert high <= 2 * epsilon * loss + values[-1] * above + rounding
        # The pair of Polyak and Lojasiewicz.
        low, high = theory.gradient_bounds(values, energies)
        np.testing.assert_allclose(low, 2 * values[0] * loss, rtol=1e-9, atol=1e-12)
        assert high <= 2 * values[-1] * loss + rounding


def test_a_bound_without_the_energy_below_epsilon_is_wrong():
    @broken(strategies.numbers(4, 3), strategies.numbers(4))
    def holds(matrix, residual):
        values, energies = kernel_and_residual(matrix, residual)
        truth = np.sum((matrix.T @ residual / 4) ** 2)
        assert truth <= values[-1] * np.sum(energies[values > 0.5]) + 1e-12


def test_a_rank_alone_does_not_decide():
    """One spectrum, and one residual that it can fit and one that it cannot. A kernel of rank 1
    fits the first, and a kernel of rank 3 does not change the second."""
    forecast = lambda matrix, targets: theory.trainability_forecast(
        Risk(linear_outputs, SquaredError(), matrix, targets),
        jnp.asarray(np.zeros((4, 1))),
        lr=0.5,
        steps=200,
        target=1e-9,
    )
    unit = lambda i: jnp.asarray(np.eye(4)[:, [i]])
    one, three = jnp.asarray(np.diag([2.0, 0, 0, 0])), jnp.asarray(np.diag([2.0, 2, 2, 0]))
    assert forecast(one, unit(0)).trainable
    for matrix, targets, directions in [(one, unit(1), 1), (three, unit(3), 3)]:
        found = forecast(matrix, targets)
        assert found.directions == directions
        assert not found.trainable
        np.testing.assert_allclose(found.loss, found.initial_loss)
    # The bounds see the difference.
    values, near, far = np.array([0.0, 1]), np.array([0.0, 0.25]), np.array([0.25, 0])
    assert theory.gradient_bounds(values, far, epsilon=0.1) == pytest.approx((0, 0.025))
    assert theory.gradient_bounds(values, near, epsilon=0.1) == pytest.approx((0.025, 0.25))
    with pytest.raises(ValueError, match="each eigenvalue needs its own energy"):
        theory.gradient_bounds(values, near[:1], epsilon=0.1)


def test_matrices_with_one_spectrum():
    values = np.array([3.0, 1.0, 0.0])
    drawn = []

    @tried(20, strategies.matrices_with_spectrum(values))
    def holds(matrix):
        np.testing.assert_allclose(np.linalg.eigvalsh(matrix)[::-1], values, atol=1e-12)
        drawn.append(matrix)

    assert max(np.abs(m - drawn[0]).max() for m in drawn) > 1


# --- Classes -----------------------------------------------------------------------------------


def classes_problem():
    rng = np.random.default_rng(3)
    inputs, labels = rng.normal(size=(7, 2)), np.array([0, 1, 2, 0, 1, 1, 0])
    return inputs, labels, rng.normal(size=(2, 3))


def test_residual_spectrum_and_class_split_of_a_linear_classifier():
    inputs, labels, params = classes_problem()
    data = jnp.asarray(inputs), jnp.asarray(labels)
    risk = Risk(linear_outputs, SoftmaxCrossEntropy(), *data)
    p = np.exp(inputs @ params)
    p /= p.sum(axis=1, keepdims=True)

    found = theory.residual_spectrum(risk, jnp.asarray(params))
    gradients = p - np.eye(3)[labels]
    truth = np.sum((inputs.T @ gradients / 7) ** 2)
    np.testing.assert_allclose(found.eigenvalues @ found.energies, truth, rtol=1e-10)
    np.testing.assert_allclose(np.sum(found.energies), np.sum(gradients**2) / 7, rtol=1e-10)
    low, high = theory.gradient_bounds(found.eigenvalues, found.energies, epsilon=0.3)
    assert low < truth < high

    parts = theory.class_split(risk, jnp.asarray(params))
    # By the definitions, in the space of the parameters.
    d = np.sqrt(p)[:, :, None] * (np.eye(3)[None] - p[:, None])  # [example, class, output]
    d = np.einsum("nkc,ni->nkic", d, inputs).reshape(7, 3, 6)
    sums = {"class_means": 0, "cross_class": 0, "within_class": 0, "own_class": 0}
    for c in range(3):
        own, others = d[labels == c], [k for k in range(3) if k != c]
        means = own[:, others].mean(axis=0)
        outer = lambda rows: rows.reshape(-1, 6).T @ rows.reshape(-1, 6) / 7
        sums["own_class"] += outer(own[:, c])
        sums["class_means"] += len(own) * 2 * outer(means.mean(axis=0))
        sums["cross_class"] += len(own) * outer(means - means.mean(axis=0))
        sums["within_class"] += outer(own[:, others] - means)
    total = np.einsum("nkp,nkq->pq", d, d) / 7
    np.testing.assert_allclose(sum(sums.values()), total, atol=1e-14)
    for name, matrix in sums.items():
        values = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(getattr(parts, name)[-6:], values, atol=1e-14)
    assert numerical_rank(sums["class_means"]) <= 3
    assert numerical_rank(sums["cross_class"]) <= 3
    squared = Risk(linear_outputs, SquaredError(), data[0], np.zeros((7, 3)))
    with pytest.raises(ValueError, match="hypothesis of softmax cross-entropy"):
        theory.class_split(squared, jnp.asarray(params))


# --- Deep linear networks ----------------------------------------------------------------------


def linear_jacobian(weights, inputs):
    """[examples * outputs, parameters], from the products before and after each layer."""
    before, columns = inputs, []
    for index, weight in enumerate(weights):
        after = np.eye(weight.shape[0])
        for later in weights[index + 1 :]:
            after = later @ after
        block = np.einsum("oj,ni->noji", after, before)
        columns.append(block.reshape(-1, weight.size))
        before = before @ weight.T
    return np.concatenate(columns, axis=1)


SIZES = [(2, 2), (3, 2, 3), (2, 4, 3), (3, 2, 4, 2), (3, 4, 1, 3)]


@COUNTS
def test_rank_of_deep_linear_networks(count):
    generic = []
    drawn = st.one_of(
        [
            st.tuples(strategies.weight_matrices(*sizes), strategies.inputs(in_size=sizes[0]))
            for sizes in SIZES
        ]
    )

    @tried(count, drawn)
    def holds(case):
        weights, inputs = case[0], np.asarray(case[1])
        rank = numerical_rank(linear_jacobian(weights, inputs))
        assert theory.linear_rank(weights, inputs) == rank
        differences = (*weights[:-1], weights[-1][:-1] - weights[-1][-1:])
        assert theory.linear_rank(differences, inputs) == softmax_rank(weights, inputs)
        sizes = [inputs.shape[1], *(w.shape[0] for w in weights)]
        input_rank = np.linalg.matrix_rank(inputs)
        if input_rank:
            formula = theory.generic_linear_rank(sizes, input_rank=int(input_rank))
            assert rank <= formula
            generic.append(rank == formula)

    assert np.mean(generic) > 0.6, np.mean(generic)


def softmax_rank(weights, inputs):
    rng = np.random.default_rng(0)
    num_outputs = weights[-1].shape[0]
    jacobian = linear_jacobian(weights, inputs).reshape(len(inputs), num_outputs, -1)
    p = rng.dirichlet(np.ones(num_outputs), size=len(inputs))
    curvature = p[:, :, None] * np.eye(num_outputs) - p[:, :, None] * p[:, None]
    return numerical_rank(np.einsum("nop,nor,nrq->pq", jacobian, curvature, jacobian))


def test_the_rank_of_a_wide_linear_network_does_not_grow_with_it():
    assert theory.generic_linear_rank((20, 5, 10), input_rank=20) == 125
    assert theory.generic_linear_rank((20, 5, 10), input_rank=4) == 40
    for width in (10, 100, 1000):
        assert theory.generic_linear_rank((20, width, width, 10), input_rank=20) == 200
    with pytest.raises(ValueError, match="`input_rank` is 4, but a network has inputs"):
        theory.generic_linear_rank((3, 2), input_rank=4)
    with pytest.raises(ValueError, match="`weights` has the shapes"):
        theory.linear_rank([np.ones((2, 3)), np.ones((2, 3))], np.ones((1, 3)))


# --- Clones ------------------------------------------------------------------------------------


def moved(pairs, step):
    result, start = [], 0
    for weight, bias in pairs:
        middle, end = start + weight.size, start + weight.size + bias.size
        result.append((weight - step[start:middle].reshape(weight.shape), bias - step[middle:end]))
        start = end
    return result


SHAPES = (
    {"in_size": 2, "width": 4, "depth": 1, "out_size": 2},
    {"in_size": 2, "width": 3, "depth": 2, "out_size": 1},
)


@COUNTS
def test_clones_cost_rank_and_stay_clones(count):
    costs = []

    @tried(
        count,
        strategies.problems(networks=strategies.cloned_networks, shapes=SHAPES, num_examples=12),
    )
    def holds(problem):
        pairs, inputs = pairs_of(problem.model), np.asarray(problem.inputs)
        bound, classes = theory.clone_rank_bound(problem.model), theory.clones(problem.model)
        _, jacobian = outputs_and_jacobian(pairs, inputs)
        assert numerical_rank(jacobian) <= bound
        if len(pairs) == 2:
            sizes = np.bincount(classes[0])
            assert bound == jacobian.shape[1] - np.sum(sizes - 1) * (2 + 2 + 1)
            costs.append(bound < jacobian.shape[1])
        # Five steps of descent with weight decay.
        for _ in range(5):
            outputs, jacobian = outputs_and_jacobian(pairs, inputs)
            gradient = jacobian.T @ (outputs - np.asarray(problem.targets)).reshape(-1) / 12
            decayed = np.concatenate([x.reshape(-1) for pair in pairs for x in pair])
            size = 0.01 / (1 + np.abs(gradient).max())
            pairs = moved(pairs, size * (gradient + 0.1 * decayed))
        for own, (weight, bias), (after, _) in zip(classes, pairs[:-1], pairs[1:], strict=True):
            for index in range(own.max() + 1):
                # Sums of equal numbers in another order differ by rounding.
                for rows in (weight[own == index], bias[own == index], after.T[own == index]):
                    np.testing.assert_allclose(rows, rows[:1].repeat(len(rows), 0), atol=1e-12)

    assert np.mean(costs) > 0.5


def test_units_with_unequal_outgoing_weights_are_no_clones():
    incoming = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]), np.array([0.5, 0.5, 0.5])
    outgoing = np.array([[1.0, 1.0, 3.0]]), np.zeros(1)
    model = with_weights(network(models.MLP, 2, 1, width=3, depth=1), [incoming, outgoing])
    assert theory.clones(model)[0].tolist() == [0, 0, 1]
    assert theory.clone_rank_bound(model) == 2 * 3 + 2 + 1
    inputs = np.random.default_rng(0).uniform(size=(9, 2))
    outputs, jacobian = outputs_and_jacobian(pairs_of(model), inputs)
    weight = moved(pairs_of(model), jacobian.T @ outputs.reshape(-1) / 9)[0][0]
    np.testing.assert_allclose(weight[0], weight[1])
    assert np.abs(weight[0] - weight[2]).max() > 0.1
    normalised = network(models.MLP, 2, 1, width=3, depth=1, layer_norm=True)
    with pytest.raises(ValueError, match="with normalisation, but clones have the hypothesis"):
        theory.clones(normalised)


def test_clones_do_not_bound_the_rank_of_the_hessian():
    """Two clones and inputs at which both are active: the residual connects the two kinds of
    weights of each clone, also where they separate."""
    pairs = [(np.ones((2, 1)), np.ones(2)), (np.ones((1, 2)), np.zeros(1))]
    model = with_weights(network(models.MLP, 1, 1, width=2, depth=1), pairs)
    inputs = np.array([[1.0], [2.0], [3.0]])
    outputs, jacobian = outputs_and_jacobian(pairs, inputs)
    assert numerical_rank(jacobian) <= theory.clone_rank_bound(model) == 4
    assert numerical_rank(two_layer_hessian(pairs, inputs, outputs - 1)) > 4
    assert numerical_rank(two_layer_hessian(pairs, inputs, outputs)) <= 4


# --- Strategies --------------------------------------------------------------------------------


def test_networks_of_any_class_are_drawn():
    makes = [
        lambda key: models.MLP(2, 2, width=3, depth=1, activation="tanh", layer_norm=True, key=key),
        lambda key: models.ConvNet(
            (1, 4, 4), 2, channels=(2,), kernels=(3,), dense_sizes=(3,), key=key
        ),
    ]
    shapes = [jax.tree.leaves(eqx.filter_eval_shape(make, jax.random.key(0))) for make in makes]

    @tried(3, *map(strategies.networks, makes))
    def holds(mlp, convnet):
        for model, expected in zip((mlp, convnet), shapes, strict=True):
            for array, shape in zip(jax.tree.leaves(model), expected, strict=True):
                if isinstance(shape, jax.ShapeDtypeStruct):
                    assert array.shape == shape.shape
                    assert np.all(np.isin(np.asarray(array), np.arange(-8, 9) / 4))

    with pytest.raises(ValueError, match="every array must hold floating-point numbers"):
        strategies.networks(lambda key: jnp.arange(3))


def test_sequences_and_flips_move_what_they_say():
    flips, moves = [], []

    @tried(20, strategies.label_flips(num_classes=3), strategies.task_sequences(max_shift=1.0))
    def holds(flip, sequence):
        flips.append(int(np.sum(np.asarray(flip.old) != np.asarray(flip.new))))
        assert np.asarray(flip.new).max() < 3
        assert len(sequence) == 3
        assert np.abs(np.asarray(sequence[0])).max() <= 2
        moves.extend(
            np.abs(np.asarray(b - a)).max()
            for a, b in zip(sequence[:-1], sequence[1:], strict=True)
        )

    assert min(flips) < 2 < max(flips) <= 5
    assert 0 < max(moves) <= 1


@pytest.mark.slow
def test_trained_networks_have_a_smaller_loss():
    fixed = network(models.MLP, 2, 2, width=4, depth=1)
    # Traced here: checks of types choose random items, which a strategy must not do.
    data = np.zeros((5, 2))
    descended(strategies.Problem(fixed, jnp.asarray(data), jnp.asarray(data)), 20, 0.001)
    shape = {"in_size": 2, "width": 4, "depth": 1, "out_size": 2}
    both = strategies.problems(shapes=[shape]).flatmap(
        lambda p: st.tuples(st.just(p), strategies.trained(st.just(p), steps=20, lr=0.001))
    )

    @tried(20, both)
    def holds(pair):
        losses = []
        for problem in pair:
            outputs, _ = outputs_and_jacobian(pairs_of(problem.model), np.asarray(problem.inputs))
            losses.append(np.sum((outputs - np.asarray(problem.targets)) ** 2))
        assert losses[1] <= losses[0]
