"""Every operator against a dense matrix that is built without it."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import Case, conv_network, LOSSES, mlp, NETWORKS, normal, over_examples
from jax.flatten_util import ravel_pytree
from programs import equations

from spectral.curvature import (
    Block,
    Convex,
    Empirical,
    Exact,
    Fisher,
    Function,
    GaussNewton,
    Gram,
    Hessian,
    Inverse,
    layer_blocks,
    matrix_function,
    Risk,
    Sampled,
    SoftmaxCrossEntropy,
    SquaredError,
)


# test_losses.py checks the second derivatives of every loss.
WHOLE, PADDED = None, 3  # 7 examples: the last batch of 3 is padded


def row(network, loss, *batch_sizes, quick=False):
    name = "-".join([network, loss, *("padded" if size else "whole" for size in batch_sizes)])
    marks = () if quick else pytest.mark.slow
    return pytest.param(network, loss, batch_sizes, id=name, marks=marks)


ROWS = [
    row("mlp", "softmax", PADDED, quick=True),
    row("mlp", "softmax", WHOLE),
    row("mlp", "squared_mean", WHOLE),
    row("mlp", "convex_coupled", WHOLE),
    row("mlp", "convex_mean", WHOLE, PADDED),
    row("conv", "softmax", WHOLE, PADDED),
    row("residual", "softmax", WHOLE),
    row("dict", "softmax", WHOLE),
]


def references(case: Case, targets, reference):
    """The Hessian, the Jacobian of the outputs, and the first two derivatives of the loss in the
    outputs, as a function of the parameters."""
    _, outputs = case.flat()
    num_examples = case.inputs.shape[0]

    def derivatives(flat):
        mean = lambda p: jnp.sum(jax.vmap(reference)(outputs(p), targets)) / num_examples
        z = outputs(flat)
        first = jax.vmap(jax.grad(reference))(z, targets)
        second = jax.vmap(jax.hessian(reference))(z, targets)
        return jax.hessian(mean)(flat), jax.jacfwd(outputs)(flat), first, second

    return derivatives


@eqx.filter_jit
def dense(operators):
    """One program for all of them, because compiling takes most of the time here."""
    return [operator.dense() for operator in operators]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("network", "loss", "batch_sizes"), ROWS)
def test_operators_agree_with_jax(network, loss, batch_sizes, getkey):
    case, row = NETWORKS[network](), LOSSES[loss]
    targets = row.targets(np.random.default_rng(1))
    flat, _ = case.flat()
    sampled = Sampled(getkey(), num_samples=2)
    factor = sampled if loss == "softmax" else Empirical()
    derivatives = references(case, targets, row.reference)
    for batch_size in batch_sizes:
        risk = Risk(case.forward, row.loss(), case.inputs, targets, batch_size=batch_size)
        fisher = Fisher(risk, case.model, factor=factor)
        operators = [GaussNewton(risk, case.model), fisher]
        if loss != "convex_mean" or batch_size is None:
            operators.append(Hessian(risk, case.model))

        @eqx.filter_jit
        def program(operators, flat, vectors):
            fisher, columns = operators[1], []
            gram = fisher.gram()
            products = [o.flat_product()(vectors[0]) for o in operators]
            if loss == "softmax":
                z = case.forward(case.model, case.inputs)
                columns = sampled.columns(fisher.risk.loss, z, targets, jnp.arange(7))
            return (
                products,
                gram.dense(),
                gram.flat_product()(vectors[1]),
                columns,
                derivatives(flat),
            )

        num_columns = 2 if loss == "softmax" else 1
        vectors = normal(np.random.default_rng(2), flat.size), jnp.arange(7.0 * num_columns)
        found = jax.tree.map(np.asarray, program(operators, flat, vectors))
        products, gram, of_gram, columns, (second, jacobian, first, hessians) = found
        columns = columns if loss == "softmax" else first[None]
        pulled = np.einsum("kna,nap->knp", columns, jacobian)
        expected = [
            np.einsum("nap,nab,nbq->pq", jacobian, hessians, jacobian) / 7,
            np.einsum("knp,knq->pq", pulled, pulled) / 7,
            second,
        ]
        for matrix in expected:
            assert np.linalg.norm(matrix) > 1e-2
        assert np.linalg.norm(second - expected[0]) > 1e-3
        for product, matrix in zip(products, expected, strict=False):
            np.testing.assert_allclose(product, matrix @ vectors[0], rtol=1e-8, atol=1e-11)
        # The Gram matrix is the product of the same factors in the other order.
        flat_pulled = pulled.swapaxes(0, 1).reshape(7 * len(columns), -1)
        np.testing.assert_allclose(gram, flat_pulled @ flat_pulled.T / 7, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(gram, gram.T, rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(of_gram, gram @ vectors[1], rtol=1e-9, atol=1e-13)


def test_the_mean_of_a_batch_is_not_enough_for_padding():
    case, row = mlp(), LOSSES["convex_mean"]
    targets = row.targets(np.random.default_rng(1))
    risk = Risk(case.forward, row.loss(), case.inputs, targets, batch_size=PADDED)
    with pytest.raises(ValueError, match="last batch is padded"):
        eqx.filter_eval_shape(risk, case.model)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_gauss_newton_is_the_hessian_of_the_linearised_network():
    case = mlp()
    flat, outputs = case.flat()
    labels = jnp.asarray(np.random.default_rng(1).integers(0, 3, 7))
    z, jacobian = outputs(flat), jax.jit(jax.jacfwd(outputs))(flat)
    loss = lambda d: -jnp.mean(jax.nn.log_softmax(z + jacobian @ d)[jnp.arange(7), labels])
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels)
    np.testing.assert_allclose(
        dense([GaussNewton(risk, case.model)])[0],
        jax.jit(jax.hessian(loss))(jnp.zeros_like(flat)),
        rtol=1e-8,
        atol=1e-12,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("network", ["mlp", "conv", "residual"])
def test_piecewise_linear_networks(network):
    """Within a layer the network is linear: there the Hessian and the Gauss-Newton matrix agree."""
    case = NETWORKS[network](activation=jax.nn.relu)
    targets = jnp.asarray(np.random.default_rng(1).integers(0, 3, 7))
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, targets)
    hessian = Hessian(risk, case.model)
    residual = np.asarray(dense([hessian - GaussNewton(risk, case.model)])[0])
    assert np.linalg.norm(residual) > 1e-2
    assert abs(np.trace(residual)) < 1e-12
    start = 0
    for block in layer_blocks(hessian).values():
        end = start + block.dim
        np.testing.assert_allclose(residual[start:end, start:end], 0, atol=1e-12)
        start = end
    assert start == hessian.dim


@pytest.mark.usefixtures("float64")
def test_outputs_of_several_parts_and_shapes():
    """Outputs in a dict, one of which is a picture: the matrix of all of them together."""

    def forward(params, inputs):
        hidden = jnp.tanh(inputs @ params["w"])
        return {"map": hidden.reshape(-1, 2, 2), "value": inputs @ params["v"]}

    def losses(outputs, targets):
        picture = jnp.sum((outputs["map"] - targets["map"]) ** 2, axis=(1, 2))
        return picture * (1 + outputs["value"] ** 2) + jnp.cosh(outputs["value"])

    rng = np.random.default_rng(0)
    params = {"w": normal(rng, 3, 4), "v": normal(rng, 3)}
    inputs = normal(rng, 5, 3)
    targets = {"map": jnp.asarray(0.9 * np.tanh(inputs @ params["w"]).reshape(-1, 2, 2))}
    flat, unravel = ravel_pytree(params)

    def joined(p, x):
        return ravel_pytree(forward(unravel(p), x[None]))[0]

    def loss_of(z, y):
        outputs = {"map": z[:4].reshape(1, 2, 2), "value": z[4:]}
        return losses(outputs, {"map": y[None]})[0]

    @eqx.filter_jit
    def program(ggn, gram, flat, vector):
        one = lambda x, y: (jax.jacfwd(joined)(flat, x), jax.hessian(loss_of)(joined(flat, x), y))
        found = ggn.flat_product()(vector), gram.dense()
        return found, jax.vmap(one)(inputs, targets["map"])

    risk = Risk(forward, losses, inputs, targets, batch_size=2)
    gram = Gram(risk, params)
    assert gram.structure.shape == (5, 5)
    vector = normal(rng, flat.size)
    ggn = GaussNewton(risk, params)
    (product, small), (jacobians, hessians) = program(ggn, gram, flat, vector)
    expected = np.einsum("nap,nab,nbq->pq", jacobians, hessians, jacobians) / 5
    np.testing.assert_allclose(product, expected @ vector, rtol=1e-8, atol=1e-12)
    nonzero = np.linalg.eigvalsh(expected)
    np.testing.assert_allclose(np.linalg.eigvalsh(small)[-15:], nonzero, rtol=1e-8, atol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_divergence_of_a_policy_from_itself_gives_its_fisher_matrix():
    """The recipe for PPO, with a Gaussian policy whose Fisher matrix is known."""

    def surrogate(outputs, targets):
        mean, log_std, value = outputs.T
        old_mean, old_log_std = jax.lax.stop_gradient((mean, log_std))
        variance = jnp.exp(2 * log_std)
        kl = (jnp.exp(2 * old_log_std) + (old_mean - mean) ** 2) / (2 * variance)
        return kl + log_std - old_log_std + 0.5 * (value - targets) ** 2

    case = mlp()
    flat, outputs = case.flat()
    jacobian, log_std = jax.jit(jax.jacfwd(outputs))(flat), outputs(flat)[:, 1]
    root = jnp.stack([jnp.exp(-log_std), jnp.full(7, 2**0.5), jnp.ones(7)], axis=1)
    rows = (root[:, :, None] * jacobian).reshape(21, -1)
    risk = Risk(case.forward, surrogate, case.inputs, jnp.ones(7))
    matrix = dense([GaussNewton(risk, case.model)])[0]
    np.testing.assert_allclose(matrix, rows.T @ rows / 7, rtol=1e-8, atol=1e-12)


OPERATORS = {
    "hessian": Hessian,
    "gauss_newton": GaussNewton,
    "exact": lambda risk, model: Fisher(risk, model, factor=Exact()),
    "sampled": lambda risk, model: Fisher(
        risk, model, factor=Sampled(jax.random.key(3), num_samples=2)
    ),
    "empirical": lambda risk, model: Fisher(risk, model, factor=Empirical()),
    "gram": Gram,
}


# The others take the same path as one of these.
DISTINCT = "hessian", "sampled", "gram"
DISTINCT = [
    pytest.param(name, marks=() if name in DISTINCT else pytest.mark.slow) for name in OPERATORS
]


def ones_like(structure):
    return jax.tree.map(lambda s: jnp.asarray(np.ones(s.shape, s.dtype)), structure)


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("name", DISTINCT)
def test_products_run_in_full_precision(name, batch_size):
    case = conv_network()
    labels = jnp.asarray(np.zeros(7, int))
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels, batch_size=batch_size)
    operator = OPERATORS[name](risk, case.model)
    programs = [lambda o, v: o.product()(v)]
    if name == "gram":
        programs.append(lambda o, v: o.dense())
    vector = ones_like(operator.structure)
    with jax.default_matmul_precision("bfloat16"):
        for program in programs:
            jaxpr = eqx.filter_make_jaxpr(program)(operator, vector)[0]
            found = list(equations(jaxpr.jaxpr))
            kinds = {"dot_general", "conv_general_dilated"}
            products = [eqn for eqn in found if eqn.primitive.name in kinds]
            assert {eqn.primitive.name for eqn in products} == kinds
            for eqn in products:
                assert eqn.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2


@pytest.mark.parametrize("name", ["gauss_newton", "sampled", "gram"])
def test_the_network_is_called_once_for_all_products(name):
    calls = 0

    def forward(model, inputs):
        nonlocal calls
        calls += 1
        return over_examples(model, inputs)

    def operator(seed):
        case = mlp(seed)
        risk = Risk(forward, SoftmaxCrossEntropy(), case.inputs, jnp.asarray(np.zeros(7, int)))
        return OPERATORS[name](risk, case.model)

    first = operator(0)
    calls = 0

    def power(operator):
        nonlocal calls
        product = operator.product()
        assert calls == (2 if name == "gram" else 1)
        return ravel_pytree(product(product(ones_like(operator.structure))))[0]

    eqx.filter_eval_shape(power, first)
    assert calls == (2 if name == "gram" else 1)


def test_new_data_of_the_same_shapes_compile_nothing():
    calls = 0

    @eqx.filter_jit
    def product(operator):
        nonlocal calls
        calls += 1
        return ravel_pytree(operator.mv(ones_like(operator.structure)))[0]

    results = []
    for seed in range(2):
        case = mlp(seed)
        labels = jnp.asarray(np.full(7, seed))
        risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels)
        results.append(product(GaussNewton(risk, case.model)))
    assert calls == 1
    assert not np.allclose(*results)


@pytest.mark.parametrize("name", DISTINCT)
@pytest.mark.parametrize(
    ("dtype", "x64"),
    [(jnp.bfloat16, False), pytest.param(jnp.float32, True, marks=pytest.mark.slow)],
)
def test_mixed_dtypes(name, dtype, x64):
    """Half precision parameters, which act in single precision, and single precision ones where
    double is the default."""
    case = mlp()
    with jax.enable_x64(x64):
        cast = lambda x: jnp.asarray(np.asarray(x), dtype) if eqx.is_inexact_array(x) else x
        model, inputs = jax.tree.map(cast, (case.model, case.inputs))
        for loss, targets in [
            (SquaredError(), jnp.asarray(np.zeros((7, 3)), dtype)),
            (SoftmaxCrossEntropy(), jnp.asarray(np.zeros(7, int))),
        ]:
            operator = OPERATORS[name](Risk(case.forward, loss, inputs, targets), model)
            narrow = jax.tree.map(
                lambda s: jax.ShapeDtypeStruct(s.shape, dtype), operator.structure
            )
            for vector in (operator.structure, narrow):
                result = eqx.filter_eval_shape(operator.mv, vector)
                assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {jnp.dtype(jnp.float32)}


def test_vectors_of_fewer_digits_are_widened():
    """As those of the dtype of bfloat16 parameters. Wider ones and integers are not converted."""
    params = {"w": jnp.asarray([1.0, 3.0], jnp.bfloat16)}
    structure = jax.eval_shape(lambda: {"w": jnp.zeros(2)})
    double = Function(jax.tree_util.Partial(jax.tree.map, lambda x: 2 * x), structure)
    hessian = Hessian(lambda p: jnp.sum(p["w"] ** 3) / 6, params)
    v = {"w": jnp.asarray([1.0, 2.0], jnp.bfloat16)}
    found = {
        "double": double.mv(v)["w"],
        "sum": ((double + double) @ v)["w"] / 2,
        "block": Block(double, lambda p: p["w"]).mv(v)["w"],
        "hessian": hessian.mv(v)["w"] / np.array([1, 3]) * 2,
    }
    for name, value in found.items():
        assert value.dtype == jnp.float32, name
        np.testing.assert_allclose(value, [2, 4], rtol=1e-6, err_msg=name)
    for wrong in (jnp.asarray([1, 2]), np.array([1.0, 2.0]), v["w"][:1]):
        with pytest.raises(ValueError, match="`vector` is .*of fewer digits"):
            double.mv({"w": wrong})


@pytest.mark.slow
def test_solutions_and_functions_widen_a_vector():
    double = Function(lambda v: 2 * v, jax.ShapeDtypeStruct((2,), jnp.float32))
    v = jnp.asarray([1.0, 2.0], jnp.bfloat16)
    found = Inverse(double, 1.0).solve(v).value * 6, matrix_function(double, lambda x: x, v).value
    for value in found:
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, [2, 4], rtol=1e-6)


def test_settings_of_a_network_are_constants():
    """`Dropout` holds its rate as a plain number, which does not count as a parameter."""
    case = NETWORKS["residual"]()
    risk = Risk(case.forward, SquaredError(), case.inputs, jnp.asarray(np.zeros((7, 3))))
    operator = GaussNewton(risk, case.model)
    assert operator.structure.dropout.p is None
    sizes = [x.size for x in jax.tree.leaves(case.model) if eqx.is_inexact_array(x)]
    assert operator.dim == sum(sizes)


@pytest.mark.parametrize("name", OPERATORS)
def test_bad_arguments(name):
    case = mlp()
    labels = jnp.asarray(np.zeros(7, int))
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels)
    with pytest.raises(ValueError, match=r"`params` has an array of int32 at \['n'\]"):
        OPERATORS[name](risk, {"w": np.ones(2, np.float32), "n": np.arange(3, dtype=np.int32)})
    with pytest.raises(ValueError, match="holds no numbers"):
        OPERATORS[name](risk, {})
    operator = OPERATORS[name](risk, case.model)
    with pytest.raises(ValueError, match="`vector` is .*but the matrix acts on vectors"):
        operator.mv({"w": jnp.asarray(np.ones(3))})
    for forward in (lambda m, x: jax.vmap(m)(x).T, lambda m, x: (jax.vmap(m)(x), None, 1.0)):
        wrong = Risk(forward, SoftmaxCrossEntropy(), case.inputs, labels)
        make = functools.partial(OPERATORS[name], wrong)
        with pytest.raises(ValueError, match="`forward` returned .*leading axis"):
            eqx.filter_eval_shape(lambda m, make=make: make(m).product() and 0, case.model)


def test_losses_that_cannot_be_sampled_from(getkey):
    case = mlp()
    loss = Convex(lambda z, y: jnp.sum(z**2, axis=1))
    risk = Risk(case.forward, loss, case.inputs, jnp.asarray(np.ones(7)))
    fisher = Fisher(risk, case.model, factor=Sampled(getkey()))
    message = "targets can be sampled only from the distribution"
    with pytest.raises(ValueError, match=message):
        eqx.filter_eval_shape(lambda f: f.product() and 0, fisher)
    with pytest.raises(ValueError, match=message):
        fisher.gram()
    assert Sampled(getkey()).num_samples == 1
    with pytest.raises(ValueError, match="`num_samples` is 0"):
        Sampled(getkey(), num_samples=0)
