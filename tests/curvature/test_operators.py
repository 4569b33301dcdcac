"""Every operator against a dense matrix that is built without it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import Case, conv_network, LOSSES, mlp, NETWORKS, over_examples
from jax.flatten_util import ravel_pytree
from programs import equations

from spectral.curvature import (
    Convex,
    Empirical,
    Exact,
    Fisher,
    GaussNewton,
    Gram,
    Hessian,
    layer_blocks,
    Risk,
    Sampled,
    SoftmaxCrossEntropy,
    SquaredError,
)


# Every loss is held against its own second derivatives in test_curvature_losses.py.
WHOLE, RAGGED = None, 3  # 7 examples: a last batch_size of 3 is padded
PAIRS = [
    ("mlp", "softmax", (WHOLE, RAGGED)),
    ("mlp", "squared_mean", (WHOLE,)),
    ("mlp", "convex_coupled", (WHOLE,)),
    ("mlp", "convex_mean", (WHOLE, RAGGED)),
    ("conv", "softmax", (WHOLE, RAGGED)),
    ("residual", "softmax", (WHOLE,)),
    ("dict", "softmax", (WHOLE,)),
]


def dense_references(case: Case, targets, reference):
    """The Hessian, the Gauss-Newton matrix and the empirical Fisher matrix."""
    flat, outputs = case.flat()
    examples = case.inputs.shape[0]

    @jax.jit
    def derivatives(flat):
        mean = lambda p: jnp.sum(jax.vmap(reference)(outputs(p), targets)) / examples
        z = outputs(flat)
        first = jax.vmap(jax.grad(reference))(z, targets)
        second = jax.vmap(jax.hessian(reference))(z, targets)
        return jax.hessian(mean)(flat), jax.jacfwd(outputs)(flat), first, second

    hessian, jacobians, first, second = map(np.asarray, derivatives(flat))
    gradients = [g @ j for g, j in zip(first, jacobians, strict=True)]
    return (
        hessian,
        sum(j.T @ h @ j for j, h in zip(jacobians, second, strict=True)) / examples,
        sum(np.outer(g, g) for g in gradients) / examples,
    )


@pytest.mark.usefixtures("float64")
def test_gauss_newton_is_the_hessian_of_the_linearised_network(getkey):
    case = mlp(getkey())
    flat, outputs = case.flat()
    labels = jax.random.randint(getkey(), (7,), 0, 3)
    z, jacobian = outputs(flat), jax.jit(jax.jacfwd(outputs))(flat)
    loss = lambda d: -jnp.mean(jax.nn.log_softmax(z + jacobian @ d)[jnp.arange(7), labels])
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels)
    np.testing.assert_allclose(
        dense([GaussNewton(risk, case.model)])[0],
        jax.jit(jax.hessian(loss))(jnp.zeros_like(flat)),
        rtol=1e-8,
        atol=1e-12,
    )


@eqx.filter_jit
def dense(operators):
    """One program for all of them: compiling takes most of the time here."""
    return [operator.dense() for operator in operators]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("network", "loss", "chunks"), PAIRS)
def test_operators_are_those_of_jax(network, loss, chunks, getkey):
    case, row = NETWORKS[network](getkey()), LOSSES[loss]
    targets = row.targets(getkey())
    hessian, ggn, empirical = dense_references(case, targets, row.reference)
    for matrix in (hessian, ggn, empirical):
        assert np.linalg.norm(matrix) > 1e-2
    assert np.linalg.norm(hessian - ggn) > 1e-3
    expected = ggn, empirical, hessian
    for batch_size in chunks:
        risk = Risk(case.forward, row.loss(), case.inputs, targets, batch_size=batch_size)
        operators = [GaussNewton(risk, case.model), Fisher(risk, case.model, factor=Empirical())]
        if loss != "convex_mean" or batch_size is None:
            operators.append(Hessian(risk, case.model))
        else:
            with pytest.raises(ValueError, match="last batch is padded"):
                Hessian(risk, case.model).mv(eqx.filter(case.model, eqx.is_array))
        for operator, matrix in zip(dense(operators), expected, strict=False):
            np.testing.assert_allclose(operator, matrix, rtol=1e-8, atol=1e-11)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("network", ["mlp", "conv", "residual"])
def test_piecewise_linear_networks(network, getkey):
    """Within a layer the network is linear: there the Hessian and the Gauss-Newton matrix agree."""
    case = NETWORKS[network](getkey(), activation=jax.nn.relu)
    targets = jax.random.randint(getkey(), (7,), 0, 3)
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
def test_outputs_of_several_parts_and_shapes(getkey):
    """Outputs in a dict, one of them a picture: the matrix of all of them together."""

    def forward(params, inputs):
        hidden = jnp.tanh(inputs @ params["w"])
        return {"map": hidden.reshape(-1, 2, 2), "value": inputs @ params["v"]}

    def losses(outputs, targets):
        picture = jnp.sum((outputs["map"] - targets["map"]) ** 2, axis=(1, 2))
        return picture * (1 + outputs["value"] ** 2) + jnp.cosh(outputs["value"])

    params = {"w": jax.random.normal(getkey(), (3, 4)), "v": jax.random.normal(getkey(), (3,))}
    inputs = jax.random.normal(getkey(), (5, 3))
    targets = {"map": 0.9 * jnp.tanh(inputs @ params["w"]).reshape(-1, 2, 2)}
    flat, unravel = ravel_pytree(params)

    def joined(p, x):
        return ravel_pytree(forward(unravel(p), x[None]))[0]

    def loss_of(z, y):
        outputs = {"map": z[:4].reshape(1, 2, 2), "value": z[4:]}
        return losses(outputs, {"map": y[None]})[0]

    @jax.jit
    def expected(flat):
        one = lambda x, y: (jax.jacfwd(joined)(flat, x), jax.hessian(loss_of)(joined(flat, x), y))
        jacobians, hessians = jax.vmap(one)(inputs, targets["map"])
        return jnp.einsum("nap,nab,nbq->pq", jacobians, hessians, jacobians) / 5

    risk = Risk(forward, losses, inputs, targets, batch_size=2)
    gram = Gram(risk, params)
    assert gram.structure.shape == (5, 5)
    matrix, small = dense([GaussNewton(risk, params), gram])
    np.testing.assert_allclose(matrix, expected(flat), rtol=1e-8, atol=1e-12)
    nonzero = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(np.linalg.eigvalsh(small)[-15:], nonzero, rtol=1e-8, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_divergence_from_oneself_gives_the_fisher_matrix_of_a_policy(getkey):
    """The recipe for PPO, with a Gaussian policy whose Fisher matrix is known."""

    def surrogate(outputs, targets):
        mean, log_std, value = outputs.T
        old_mean, old_log_std = jax.lax.stop_gradient((mean, log_std))
        variance = jnp.exp(2 * log_std)
        kl = (jnp.exp(2 * old_log_std) + (old_mean - mean) ** 2) / (2 * variance)
        return kl + log_std - old_log_std + 0.5 * (value - targets) ** 2

    case = mlp(getkey())
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


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("name", OPERATORS)
def test_products_run_in_full_precision(name, batch_size, getkey):
    case = conv_network(getkey())
    labels = jnp.zeros(7, int)
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels, batch_size=batch_size)
    operator = OPERATORS[name](risk, case.model)
    programs = [lambda o, v: o.product()(v)]
    if name == "gram":
        programs.append(lambda o, v: o.dense())
    vector = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), operator.structure)
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
def test_the_network_is_called_once_for_all_products(name, getkey):
    calls = 0

    def forward(model, inputs):
        nonlocal calls
        calls += 1
        return over_examples(model, inputs)

    def operator():
        case = mlp(getkey())
        risk = Risk(forward, SoftmaxCrossEntropy(), case.inputs, jnp.zeros(7, int))
        return OPERATORS[name](risk, case.model)

    first, second = operator(), operator()  # other data of the same shapes
    calls = 0

    @eqx.filter_jit
    def power(operator):
        nonlocal calls
        product = operator.product()
        assert calls == (2 if name == "gram" else 1)
        vector = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), operator.structure)
        return ravel_pytree(product(product(vector)))[0]

    a, b = power(first), power(second)
    assert calls == (2 if name == "gram" else 1)
    assert not np.allclose(a, b)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("dtype", "x64"), [(jnp.bfloat16, False), (jnp.float32, True)])
def test_mixed_dtypes(name, dtype, x64, getkey):
    """Half precision parameters, and single precision ones where double is the default."""
    case = mlp(getkey())
    with jax.enable_x64(x64):
        cast = lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x
        model = jax.tree.map(cast, case.model)
        for loss, targets in [
            (SquaredError(), jnp.zeros((7, 3), dtype)),
            (SoftmaxCrossEntropy(), jnp.zeros(7, int)),
        ]:
            risk = Risk(case.forward, loss, case.inputs.astype(dtype), targets)
            operator = OPERATORS[name](risk, model)
            result = eqx.filter_eval_shape(operator.mv, operator.structure)
            assert {leaf.dtype for leaf in jax.tree.leaves(result)} == {jnp.dtype(dtype)}


def test_settings_of_a_network_are_constants(getkey):
    """`Dropout` holds its rate as a plain number, which is no parameter by mistake."""
    case = NETWORKS["residual"](getkey())
    risk = Risk(case.forward, SquaredError(), case.inputs, jnp.zeros((7, 3)))
    operator = GaussNewton(risk, case.model)
    assert operator.structure.dropout.p is None
    assert operator.dim == case.flat()[0].size


@pytest.mark.parametrize("name", OPERATORS)
def test_what_is_refused(name, getkey):
    case = mlp(getkey())
    labels = jnp.zeros(7, int)
    risk = Risk(case.forward, SoftmaxCrossEntropy(), case.inputs, labels)
    with pytest.raises(ValueError, match=r"`params` has an array of int32 at \['n'\]"):
        OPERATORS[name](risk, {"w": jnp.ones(2), "n": jnp.arange(3)})
    with pytest.raises(ValueError, match="holds no numbers"):
        OPERATORS[name](risk, {})
    operator = OPERATORS[name](risk, case.model)
    with pytest.raises(ValueError, match="`vector` is .*but the matrix acts on vectors"):
        operator.mv({"w": jnp.ones(3)})
    for forward in (lambda m, x: jax.vmap(m)(x).T, lambda m, x: (jax.vmap(m)(x), None, 1.0)):
        wrong = Risk(forward, SoftmaxCrossEntropy(), case.inputs, labels)
        with pytest.raises(ValueError, match="`forward` returned .*leading axis"):
            OPERATORS[name](wrong, case.model).product()


def test_losses_that_cannot_be_sampled_from(getkey):
    case = mlp(getkey())
    risk = Risk(case.forward, Convex(lambda z, y: jnp.sum(z**2, axis=1)), case.inputs, jnp.ones(7))
    fisher = Fisher(risk, case.model, factor=Sampled(getkey()))
    with pytest.raises(ValueError, match="targets can be sampled only from the distribution"):
        fisher.product()
    with pytest.raises(ValueError, match="targets can be sampled only from the distribution"):
        fisher.gram()
    with pytest.raises(ValueError, match="`num_samples` is 0"):
        Sampled(getkey(), num_samples=0)
