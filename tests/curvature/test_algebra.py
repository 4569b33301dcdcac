"""Matrices from arrays and functions, sums, blocks, and the check of symmetry."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_cases import normal, over_examples
from jax.flatten_util import ravel_pytree
from layered_networks import drawn
from programs import equations

from spectral.curvature import (
    Block,
    check_symmetric,
    Function,
    Gram,
    Hessian,
    layer_blocks,
    Matrix,
    Risk,
    SoftmaxCrossEntropy,
    SquaredError,
)


def large_gram():
    model = drawn(lambda k: eqx.nn.Linear(1, 2, key=k), np.random.default_rng(0))
    inputs, labels = np.zeros((100_000, 1), np.float32), np.zeros(100_000, int)
    return Gram(Risk(over_examples, SoftmaxCrossEntropy(), inputs, labels), model)


def random_symmetric(dim, seed=0):
    array = np.random.default_rng(seed).normal(size=(dim, dim))
    return jnp.asarray(array + array.T, float)


def network_hessian(seed=0):
    rng = np.random.default_rng(seed)
    model = drawn(lambda k: eqx.nn.MLP(2, 2, 3, 1, activation=jnp.tanh, key=k), rng)
    return Hessian(jax.tree_util.Partial(_mean_square, normal(rng, 5, 2)), model)


def _mean_square(data, model):
    return jnp.mean(jax.vmap(model)(data) ** 2)


@eqx.filter_jit
def dense(operators):
    return [operator.dense() for operator in operators]


@pytest.mark.usefixtures("float64")
def test_matrix_and_function():
    array = random_symmetric(5)

    def product(tree):
        flat = array @ jnp.concatenate([tree["a"], tree["b"].ravel()])
        return {"a": flat[:1], "b": flat[1:].reshape(2, 2)}

    like = {"a": jnp.asarray(np.ones(1)), "b": jnp.asarray(np.ones((2, 2)))}
    functions = [Function(product, like), Function(product, jax.eval_shape(lambda: like))]
    assert [(f.dim, f.dtype) for f in functions] == [(5, jnp.float64)] * 2
    for matrix in dense([Matrix(array), *functions]):
        np.testing.assert_allclose(matrix, array, rtol=1e-12)
    vector = jnp.asarray(np.arange(5.0))
    np.testing.assert_allclose(Matrix(array).mv(vector), np.asarray(array) @ vector, rtol=1e-12)


def test_products_of_matrices_and_functions_run_in_full_precision():
    array = random_symmetric(3)
    with jax.default_matmul_precision("bfloat16"):
        for operator in (Matrix(array), Function(lambda v: array @ v, jnp.ones(3))):
            jaxpr = eqx.filter_make_jaxpr(lambda o, v: o.mv(v))(operator, jnp.ones(3))[0]
            (dot,) = [e for e in equations(jaxpr.jaxpr) if e.primitive.name == "dot_general"]
            assert dot.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Matrix(jnp.ones((2, 3))), r"`array` is of float32 \(2, 3\).*square"),
        (lambda: Matrix(jnp.ones((0, 0))), "square"),
        (lambda: Matrix(jnp.ones((2, 2), int)), "int32.*floating-point"),
        (lambda: Function(lambda v: v, jnp.arange(3)), "`like` has a leaf .*floating-point"),
        (lambda: Function(lambda v: v, (jnp.ones(3), 1.0)), "`like` has a leaf 1.0"),
        (lambda: Function(lambda v: v, {}), "`like` is {}.*at least one"),
        (lambda: Function(lambda v: v[:1], jnp.ones(3)).product(), "`function` returned .*same"),
        (lambda: Function(lambda v: (v, v), jnp.ones(3)).product(), "`function` returned"),
        (lambda: Function(lambda v: 1.0, jnp.ones(3)).product(), "`function` returned 1.0"),
        (lambda: Matrix(jnp.eye(3)).mv(jnp.ones(4)), r"`vector` is .*4.*but the matrix acts on"),
        (lambda: Matrix(jnp.eye(3)).mv((jnp.ones(3),)), "same structure"),
        (lambda: Matrix(jnp.eye(3)) + Matrix(jnp.eye(4)), "different structure"),
        (lambda: Matrix(jnp.eye(3)) * jnp.ones(3), r"shape \(3,\), but must be one number"),
        (lambda: Matrix(jnp.eye(3)) + 0.1, r"A float cannot be added .*`c \* Function"),
        (lambda: Matrix(jnp.eye(3)) - jnp.eye(3), "cannot be added to an operator"),
        (lambda: sum([Matrix(jnp.eye(3))], 1), "A int cannot be added to an operator"),
        (lambda: Matrix(jnp.eye(3)) @ jnp.ones(4), r"`vector` is .*4.*but the matrix acts on"),
        (lambda: Matrix(jnp.eye(3)) @ Matrix(jnp.eye(3)), r"of `@` is a Matrix, .*`a @ \(b @ v\)`"),
        (lambda: Matrix(jnp.eye(3)) / jnp.ones(3), r"shape \(3,\), but must be one number"),
        (
            lambda: Function(_itself, jax.ShapeDtypeStruct((2_000_000,), jnp.float32)).dense(),
            "2,000,000 rows, so it would take 16,000 GB, .*at most 137 GB: use its products",
        ),
        (
            lambda: large_gram().dense(),
            "200,000 rows, so it would take 160 GB, .*the `Gram` of fewer examples",
        ),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def _itself(vector):
    return vector


@pytest.mark.usefixtures("float64")
def test_sums_and_multiples():
    a, b = random_symmetric(4), random_symmetric(4, seed=1)
    operator = 2.0 * (Matrix(a) - Matrix(b)) + -Matrix(a) * 0.5
    mixed = Matrix(a) + Function(lambda v: b @ v, jnp.asarray(np.ones(4)))
    summed = sum([np.float64(3) * Matrix(a), Matrix(b) / 2, Matrix(b) / np.int64(4)])
    total, mixed, summed = dense([operator, mixed, summed])
    vector = jnp.asarray(np.arange(4.0))
    np.testing.assert_array_equal(Matrix(a) @ vector, Matrix(a).mv(vector))
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(summed, 3 * a + 0.75 * b, rtol=1e-12)
    np.testing.assert_allclose(total, 1.5 * a - 2 * b, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(mixed, a + b, rtol=1e-12)


def test_writing_out_a_matrix_compiles_once():
    traces = 0

    def product(vector):
        nonlocal traces
        traces += 1
        return 2 * vector

    operator = Function(product, jax.ShapeDtypeStruct((3,), jnp.float32))
    operator.dense()
    first = traces
    np.testing.assert_array_equal(operator.dense(), 2 * np.eye(3))
    assert traces == first

    def forward(weight, inputs):
        nonlocal traces
        traces += 1
        return inputs @ weight

    risk = Risk(forward, SquaredError(), np.ones((2, 3), np.float32), np.zeros((2, 1), np.float32))
    gram = Gram(risk, jnp.asarray(np.ones((3, 1), np.float32)))
    gram.dense()
    first = traces
    np.testing.assert_allclose(gram.dense(), np.full((2, 2), 1.5), rtol=1e-6)
    assert traces == first


class OfTree(eqx.Module):
    """A matrix that acts on a pytree."""

    array: jax.Array

    def __call__(self, tree):
        flat, unravel = ravel_pytree(tree)
        return unravel(self.array @ flat)


@pytest.mark.usefixtures("float64")
def test_blocks():
    shapes = {"a": {"b": (3,), "w": (3, 2)}, "c": {"b": (2,), "w": (2, 3)}}
    is_shape = lambda x: isinstance(x, tuple)
    like = jax.tree.map(lambda s: jnp.asarray(np.ones(s)), shapes, is_leaf=is_shape)
    whole = np.asarray(random_symmetric(17))  # 9 numbers in the first layer, 8 in the second
    operator = Function(OfTree(jnp.asarray(whole)), like)
    biases = Block(operator, lambda m: [m["a"]["b"], m["c"]["b"]])
    blocks = layer_blocks(operator)
    assert list(blocks) == ["a", "c"]
    nested = Block(Block(operator, lambda m: m["c"]), lambda m: m["c"]["w"])
    half = Block(operator - 0.5 * operator, lambda m: m["c"])
    vector = {"a": {"b": jnp.asarray(np.arange(3.0)), "w": None}, "c": {"b": None, "w": None}}
    single = Block(operator, lambda m: m["a"]["b"])
    run = eqx.filter_jit(lambda operators, vector: (dense(operators), single.mv(vector)))
    operators = [biases, *blocks.values(), nested, half]
    (bias, first, second, weight, half), product = run(operators, vector)
    rows = np.asarray([0, 1, 2, 9, 10])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    close(bias, whole[np.ix_(rows, rows)])
    close(first, whole[:9, :9])
    close(second, whole[9:, 9:])
    close(weight, whole[11:, 11:])
    close(half, whole[9:, 9:] / 2)
    close(product["a"]["b"], whole[:3, :3] @ np.arange(3.0))
    assert product["c"]["w"] is None


def test_layers_of_dicts_and_lists():
    params = {"scale": jnp.ones(1), "in": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}}
    blocks = layer_blocks(Hessian(lambda p: jnp.zeros(()), params))
    assert {name: block.dim for name, block in blocks.items()} == {"in": 6, "scale": 1}
    blocks = layer_blocks(Hessian(lambda p: jnp.zeros(()), [jnp.ones(2), jnp.ones(3)]))
    assert {name: block.dim for name, block in blocks.items()} == {"0": 2, "1": 3}
    (block,) = layer_blocks(Matrix(jnp.eye(3))).values()
    assert block.dim == 3


def test_blocks_of_the_same_parts_compile_once():
    hessian, traces = network_hessian(), 0

    @eqx.filter_jit
    def count(operator):
        nonlocal traces
        traces += 1
        return operator.dim

    for _ in range(2):
        count(Block(hessian, lambda m: m.layers[0]))
    assert traces == 1


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (lambda m: [], "`where` returned .*has no parameters"),
        (lambda m: m.layers[0].in_features, "must return parts of what it is given"),
        (lambda m: [m.layers[0], m.layers[0].bias], "each once"),
    ],
)
def test_bad_parts(where, message):
    with pytest.raises(ValueError, match=message):
        Block(network_hessian(), where)


@pytest.mark.usefixtures("float64")
def test_symmetric_matrices_pass_the_check(getkey):
    array = np.asarray(random_symmetric(30))
    for matrix in (array, 1e-160 * array, 1e160 * array, np.zeros((30, 30))):
        check_symmetric(Matrix(jnp.asarray(matrix)), key=getkey())


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_hessian_of_a_network_passes_the_check(getkey):
    check_symmetric(network_hessian(), key=getkey())
    check_symmetric(Matrix(random_symmetric(30).astype(jnp.float32)), key=getkey())
    check_symmetric(Matrix(jnp.ones((1, 1))), key=getkey())


@pytest.mark.usefixtures("float64")
def test_matrices_that_are_not_symmetric_fail_the_check(getkey):
    noise = np.random.default_rng(1).normal(size=(30, 30))
    array = np.asarray(random_symmetric(30))
    nearly = Matrix(jnp.asarray(array + 1e-5 * noise))
    with pytest.raises(
        ValueError, match=r"`operator` is not symmetric: .*differ by .*at most 1.5e-08"
    ):
        check_symmetric(nearly, key=getkey())
    check_symmetric(nearly, key=getkey(), tolerance=1e-3)
    array = array.copy()
    array[3, 5] += 10
    for scale in (1e-160, 1.0, 1e160):
        with pytest.raises(ValueError, match="not symmetric"):
            check_symmetric(Matrix(jnp.asarray(scale * array)), key=getkey())
    check_symmetric(nearly, key=getkey(), tolerance=1e-3, num_pairs=np.int64(3))
    with pytest.raises(ValueError, match="`num_pairs` is 0"):
        check_symmetric(nearly, key=getkey(), num_pairs=0)
    with pytest.raises(ValueError, match="`tolerance` is -1"):
        check_symmetric(nearly, key=getkey(), tolerance=-1.0)


@pytest.mark.usefixtures("float64")
def test_the_size_of_an_asymmetry(getkey):
    """The quotient is about ||A - A^T|| / (2 ||A||): here 1 for an antisymmetric matrix."""
    root = np.random.default_rng(1).normal(size=(30, 30))
    antisymmetric = Matrix(jnp.asarray(root - root.T))
    with pytest.raises(ValueError, match="not symmetric") as error:
        check_symmetric(antisymmetric, key=getkey(), num_pairs=3)
    (quotient,) = re.findall(r"differ by (\S+) of", str(error.value))
    assert 0.05 < float(quotient) <= 1


@pytest.mark.usefixtures("float64")
def test_products_that_are_not_finite_fail_the_check(getkey):
    operator = Matrix(jnp.asarray(np.full((30, 30), np.nan)))
    with pytest.raises(ValueError, match="not finite.*in the loss"):
        check_symmetric(operator, key=getkey())


def _root_of_negative(model):
    return jnp.sqrt(-jnp.sum(model["w"] ** 2))


@pytest.mark.slow
def test_losses_that_are_not_finite_fail_the_check(getkey):
    params = {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match="not finite.*in the loss"):
        check_symmetric(Hessian(_root_of_negative, params), key=getkey())
    inputs = jnp.ones((2, 3)).at[0, 0].set(jnp.inf)
    risk = Risk(lambda p, x: x * p["w"][None], SoftmaxCrossEntropy(), inputs, jnp.zeros(2, int))
    with pytest.raises(ValueError, match="not finite"):
        check_symmetric(Gram(risk, params), key=getkey())
