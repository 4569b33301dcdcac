"""Matrices from arrays and functions, sums, blocks, and the check of symmetry."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
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
)


def random_symmetric(key, dim):
    matrix = jax.random.normal(key, (dim, dim))
    return matrix + matrix.T


def network_hessian(key):
    model = eqx.nn.MLP(2, 2, 3, 1, activation=jnp.tanh, key=key)
    data = jax.random.normal(key, (5, 2))
    return Hessian(jax.tree_util.Partial(_mean_square, data), model)


def _mean_square(data, model):
    return jnp.mean(jax.vmap(model)(data) ** 2)


@pytest.mark.usefixtures("float64")
def test_matrix_and_function(getkey):
    array = random_symmetric(getkey(), 5)
    operator = Matrix(array)
    np.testing.assert_allclose(operator.dense(), array)
    vector = jax.random.normal(getkey(), (5,))
    np.testing.assert_allclose(operator.mv(vector), array @ vector, rtol=1e-12)

    def product(tree):
        flat = array @ jnp.concatenate([tree["a"], tree["b"].ravel()])
        return {"a": flat[:1], "b": flat[1:].reshape(2, 2)}

    like = {"a": jnp.ones(1), "b": jnp.ones((2, 2))}
    for vectors in (like, jax.eval_shape(lambda: like)):
        function = Function(product, vectors)
        assert (function.dim, function.dtype) == (5, jnp.float64)
        np.testing.assert_allclose(function.dense(), array, rtol=1e-12)


def test_their_precision(getkey):
    array = random_symmetric(getkey(), 3)
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
    ],
)
def test_what_is_refused(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()


@pytest.mark.usefixtures("float64")
def test_algebra(getkey):
    a, b = random_symmetric(getkey(), 4), random_symmetric(getkey(), 4)
    operator = 2.0 * (Matrix(a) - Matrix(b)) + -Matrix(a) * 0.5
    np.testing.assert_allclose(operator.dense(), 1.5 * a - 2 * b, rtol=1e-12, atol=1e-14)
    mixed = Matrix(a) + Function(lambda v: b @ v, jnp.ones(4))
    np.testing.assert_allclose(mixed.dense(), a + b, rtol=1e-12)
    hessian = network_hessian(getkey())
    other = Hessian(hessian.loss, eqx.nn.MLP(2, 2, 3, 1, activation=jnp.tanh, key=getkey()))
    total = eqx.filter_jit(lambda o: [x.dense() for x in o])([hessian, other, hessian - other])
    np.testing.assert_allclose(total[2], total[0] - total[1], rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_blocks(getkey):
    hessian = network_hessian(getkey())  # 9 numbers in the first layer, 8 in the second
    biases = Block(hessian, lambda m: [layer.bias for layer in m.layers])
    blocks = layer_blocks(hessian)
    assert list(blocks) == ["layers.0", "layers.1"]
    nested = Block(Block(hessian, lambda m: m.layers[1]), lambda m: m.layers[1].weight)
    second_residual = Block(hessian - 0.5 * hessian, lambda m: m.layers[1])
    operators = [hessian, biases, *blocks.values(), nested, second_residual]
    whole, bias, first, second, weight, half = map(
        np.asarray, eqx.filter_jit(lambda o: [x.dense() for x in o])(operators)
    )
    rows = np.asarray([6, 7, 8, 15, 16])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    close(bias, whole[np.ix_(rows, rows)])
    close(first, whole[:9, :9])
    close(second, whole[9:, 9:])
    close(weight, whole[9:15, 9:15])
    close(half, second / 2)
    assert np.linalg.norm(whole[:9, 9:]) > 1e-3  # what the blocks leave out
    vector = eqx.filter(hessian.params.layers[0].bias, True)
    single = Block(hessian, lambda m: m.layers[0].bias)
    expected = jax.tree.map(lambda s: None, single.structure)
    result = single.mv(eqx.tree_at(lambda m: m.layers[0].bias, expected, vector, is_leaf=_is_none))
    close(result.layers[0].bias, whole[6:9, 6:9] @ vector)
    assert result.layers[1].weight is None


def _is_none(leaf):
    return leaf is None


def test_layers_of_dicts_and_lists(getkey):
    params = {"scale": jnp.ones(1), "in": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}}
    blocks = layer_blocks(Hessian(lambda p: jnp.zeros(()), params))
    assert {name: block.dim for name, block in blocks.items()} == {"in": 6, "scale": 1}
    blocks = layer_blocks(Hessian(lambda p: jnp.zeros(()), [jnp.ones(2), jnp.ones(3)]))
    assert {name: block.dim for name, block in blocks.items()} == {"0": 2, "1": 3}
    (block,) = layer_blocks(Matrix(jnp.eye(3))).values()
    assert block.dim == 3


def test_other_blocks_of_the_same_parts_compile_nothing_anew(getkey):
    hessian, traces = network_hessian(getkey()), 0

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
def test_parts_that_are_refused(where, message, getkey):
    with pytest.raises(ValueError, match=message):
        Block(network_hessian(getkey()), where)


@pytest.mark.usefixtures("float64")
def test_symmetric_matrices_pass_the_check(getkey):
    array = random_symmetric(getkey(), 30)
    for operator in (
        Matrix(array),
        Matrix(1e-12 * array),
        Matrix(jnp.zeros((3, 3))),
        Matrix(jnp.ones((1, 1))),
        Matrix(array.astype(jnp.float32)),
        network_hessian(getkey()),
    ):
        check_symmetric(operator, key=getkey())


@pytest.mark.usefixtures("float64")
def test_the_check_finds_what_is_not_symmetric(getkey):
    noise = jax.random.normal(getkey(), (400, 400))
    array = random_symmetric(getkey(), 400)
    with pytest.raises(
        ValueError, match=r"`operator` is not symmetric: .*differ by .*at most 1.5e-08"
    ):
        check_symmetric(Matrix(array + 1e-5 * noise), key=getkey())
    check_symmetric(Matrix(array + 1e-5 * noise), key=getkey(), tolerance=1e-3)
    with pytest.raises(ValueError, match="not symmetric"):
        check_symmetric(Matrix(array.at[3, 5].add(10.0)), key=getkey())
    with pytest.raises(ValueError, match="not symmetric"):
        check_symmetric(Function(lambda v: jnp.roll(v, 1), jnp.ones(5)), key=getkey())
    with pytest.raises(ValueError, match="`num_pairs` is 0"):
        check_symmetric(Matrix(array), key=getkey(), num_pairs=0)
    with pytest.raises(ValueError, match="`tolerance` is -1"):
        check_symmetric(Matrix(array), key=getkey(), tolerance=-1.0)


def _root_of_negative(model):
    return jnp.sqrt(-jnp.sum(model["w"] ** 2))


def test_the_check_finds_what_is_not_finite(getkey):
    params = {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match="not finite.*in the loss"):
        check_symmetric(Hessian(_root_of_negative, params), key=getkey())
    inputs = jnp.ones((2, 3)).at[0, 0].set(jnp.inf)
    risk = Risk(lambda p, x: x * p["w"][None], SoftmaxCrossEntropy(), inputs, jnp.zeros(2, int))
    with pytest.raises(ValueError, match="not finite"):
        check_symmetric(Gram(risk, params), key=getkey())
