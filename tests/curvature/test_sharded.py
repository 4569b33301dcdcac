"""Examples and vectors that are divided over devices: the numbers of one device, and one reduction
for each product."""

import functools
import os
import pathlib
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from layered_networks import drawn
from programs import equations

from spectral import curvature as c


KEY = jax.random.key(0)
LOSS = c.SoftmaxCrossEntropy(ignore_label=-1)


def over_examples(model, inputs):
    return jax.vmap(model)(inputs)


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 3)), np.array([0, 1, 2, -1, 1, 0, 0])


def mesh(name, count):
    return jax.sharding.Mesh(np.array(jax.devices()[:count]), (name,))


def network():
    make = lambda key: eqx.nn.MLP(3, 3, 4, 1, activation=jnp.tanh, key=key)
    return drawn(make, np.random.default_rng(3))


def test_a_product_has_one_reduction():
    """Of a vector that joins all four arrays of the network. The gradient has one too."""
    model = network()
    examples = c.Sharded(*data(), mesh=mesh("examples", 1))
    risk = c.Risk.of(over_examples, LOSS, examples, batch_size=3)
    vector = eqx.filter(model, eqx.is_inexact_array)
    for function in (
        lambda risk, v: c.Hessian(risk, model).product()(v),
        lambda risk, v: c.GaussNewton(risk, model).product()(v),
        lambda risk, v: eqx.filter_grad(risk)(eqx.combine(v, model)),
    ):
        jaxpr = eqx.filter_make_jaxpr(function)(risk, vector)[0].jaxpr
        sums = [e for e in equations(jaxpr) if e.primitive.name.startswith("psum")]
        assert len(sums) == 1
        assert sums[0].invars[0].aval.size in (31, 32)  # with the mean loss


def test_a_derivative_in_the_examples_is_an_error():
    inputs, labels = (jnp.asarray(x) for x in data())

    def value(model, inputs):
        examples = c.Sharded(inputs, labels, mesh=mesh("examples", 1))
        return c.Risk.of(over_examples, LOSS, examples)(model)

    with pytest.raises(ValueError, match="`risk` is differentiated in its examples"):
        jax.grad(value, argnums=1)(network(), inputs)


def test_arrays_are_no_examples():
    with pytest.raises(TypeError, match="examples"):
        c.Risk.of(over_examples, LOSS, data()[0])  # pyright: ignore[reportArgumentType]


def test_meshes_that_do_not_fit():
    two_axes = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("a", "b"))
    many = jax.sharding.Mesh(np.array(jax.devices()[:1] * 8), ("examples",))
    with pytest.raises(ValueError, match=r"`mesh` has the axes \('a', 'b'\), but must have one"):
        c.Sharded(*data(), mesh=two_axes)
    with pytest.raises(ValueError, match="`mesh` has 8 devices, but there are 7 examples"):
        c.Sharded(*data(), mesh=many)
    with pytest.raises(ValueError, match=r"shapes \[\(7, 3\), \(6,\)\]"):
        c.Sharded(data()[0], np.zeros(6), mesh=mesh("examples", 1))
    examples = c.Sharded(*data(), mesh=mesh("examples", 1))
    with pytest.raises(ValueError, match="`targets` is given, but `inputs` is a `Sharded`"):
        c.Risk(over_examples, LOSS, examples, np.zeros(7))
    for estimator in (c.Lanczos, c.Chebyshev, c.Deflated, c.MatfreeLanczos):
        with pytest.raises(ValueError, match=r"`mesh` has the axes \('a', 'b'\), but must have"):
            estimator(mesh=two_axes)
        with pytest.raises(ValueError, match="`mesh` has 8 devices, but `num_vectors` is 3"):
            estimator(num_vectors=3, mesh=many)
    with pytest.raises(ValueError, match="`mesh` has 8 devices, but `num_samples` is 2"):
        c.Hutchinson(num_samples=2, mesh=many)
    hessian = c.Hessian(c.Risk.of(over_examples, LOSS, examples), network())
    with pytest.raises(ValueError, match="`Risk` of `Sharded`, and every device must hold all"):
        c.Lanczos(order=2, num_vectors=2, mesh=mesh("vectors", 1))(hessian, key=KEY)


@eqx.filter_jit
def _everything(risk, model):
    gauss_newton = c.GaussNewton(risk, model)
    sampled = c.Fisher(risk, model, factor=c.Sampled(KEY, num_samples=2))
    vector = jax.tree.map(jnp.cos, eqx.filter(model, eqx.is_inexact_array))
    gram = c.Gram(risk, model)
    return {
        "value": risk(model),
        "gradient": eqx.filter_grad(risk)(model),
        "hessian": c.Hessian(risk, model).mv(vector),
        "sampled": sampled.mv(vector),
        "gram": gram.mv(jnp.cos(jnp.arange(gram.dim, dtype=float)).reshape(7, 3)),
        "diagonal": c.ExactDiagonal()(gauss_newton, key=KEY).value,
        "gradients": c.example_gradients(risk, model),
        "kfac": c.KFAC(risk, model).mv(vector),
        "lanczos": c.Lanczos(order=4, num_vectors=2)(gauss_newton, key=KEY).nodes,
        "inputs": risk.inputs,
    }


def _same(a, b, name):
    a, b = (ravel_pytree(eqx.filter(tree, eqx.is_array))[0] for tree in (a, b))
    np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12, err_msg=name)


def _examples_on_two_devices():
    model = network()
    examples = c.Sharded(*data(), mesh=mesh("examples", 2))
    assert len(examples.padded_inputs.devices()) == 2
    # Each device has four examples, of which the second pads one, in two batches.
    risk = c.Risk.of(over_examples, LOSS, examples, batch_size=3)
    found = _everything(risk, model)
    for name, expected in _everything(c.Risk(over_examples, LOSS, *data()), model).items():
        _same(expected, found[name], name)
    vector = eqx.filter(model, eqx.is_inexact_array)
    for product in (c.Hessian, c.GaussNewton):
        compiled = jax.jit(product(risk, model).product()).lower(vector).compile()
        assert (compiled.as_text() or "").count(" all-reduce(") == 1


def _with_vectors_divided(*make):
    hessian = c.Hessian(c.Risk(over_examples, LOSS, *data()), network())
    for estimator in make:
        divided = mesh("vectors", 2)
        options = ({}, {"mesh": divided})
        one, two = (estimator(**own)(hessian, key=KEY) for own in options)
        _same(one, two, repr(estimator()))
        program = eqx.filter_make_jaxpr(estimator(mesh=divided))(hessian, key=KEY)[0].jaxpr
        assert any(e.primitive.name == "shard_map" for e in equations(program))


def _vectors_on_two_devices():
    _with_vectors_divided(
        functools.partial(c.Lanczos, order=3, num_vectors=3),
        functools.partial(c.MatfreeLanczos, order=3, num_vectors=3),
        functools.partial(c.Hutchinson, num_samples=3),
    )


def _later_vectors_on_two_devices():
    """Of estimators with an iteration before the random vectors."""
    _with_vectors_divided(
        functools.partial(c.Chebyshev, order=3, num_vectors=3, range_order=3),
        functools.partial(c.Deflated, order=3, num_vectors=3, deflation_order=3),
    )


WORK = ["_examples_on_two_devices", "_vectors_on_two_devices", "_later_vectors_on_two_devices"]


@pytest.mark.slow
@pytest.mark.parametrize("work", WORK)
def test_two_devices(work):
    here = pathlib.Path(__file__)
    settings = {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    settings["PYTHONPATH"] = os.pathsep.join([str(here.parents[1]), *sys.path])
    settings["JAX_COMPILATION_CACHE_DIR"] = str(here.parents[2] / ".cache" / "jax")
    program = [sys.executable, "-c", f"import test_sharded; test_sharded.{work}()"]
    subprocess.run(program, cwd=here.parent, check=True, env=os.environ | settings, timeout=600)
