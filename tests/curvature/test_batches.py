"""Examples that are read batch by batch: the numbers of the same examples in memory, and errors for
data that change between passes."""

import concurrent.futures
import re
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from layered_networks import drawn
from programs import largest

from spectral import curvature as c
from spectral.curvature.risk.examples._reader import BatchReader


KEY = jax.random.key(0)
LOSS = c.SoftmaxCrossEntropy(ignore_label=-1)
W = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)), jnp.float32)


def linear(w, inputs):
    return inputs @ w


def over_examples(model, inputs):
    return jax.vmap(model)(inputs)


def data(num_examples=7):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(num_examples, 3)).astype(np.float32)
    return inputs, np.array([0, 1, 2, -1, 1, 0, 0])[:num_examples]


def on_disk(folder, num_examples=7):
    inputs, labels = data(num_examples)
    np.save(folder / "inputs.npy", inputs)
    return np.load(folder / "inputs.npy", mmap_mode="r+"), labels


class Passes:
    """Pairs that are made again in each pass; the passes and batches are counted."""

    def __init__(self, *passes):
        self.passes, self.begun, self.read = passes, 0, 0

    def __iter__(self):
        self.begun += 1
        for pair in self.passes[min(self.begun, len(self.passes)) - 1]:
            self.read += 1
            yield pair


def pairs(*, size=3, num_examples=7):
    inputs, labels = data(num_examples)
    starts = range(0, num_examples, size)
    return [(inputs[i : i + size], labels[i : i + size]) for i in starts]


@eqx.filter_jit
def several(risk, w):
    """Everything that passes the data in one program."""
    value, gradient = jax.value_and_grad(risk)(w)
    forward_over_reverse = jax.jvp(jax.grad(risk), (w,), (jnp.cos(w),))[1]
    gauss_newton = c.GaussNewton(risk, w).mv(jnp.cos(w))
    return value, gradient, forward_over_reverse, gauss_newton


def test_numbers_and_errors(tmp_path):
    """The numbers of `numpy.memmap` are those of arrays. A change of the file is found, and the
    program works again when it is undone."""
    inputs, labels = on_disk(tmp_path)
    batches = c.Batches.of_arrays(inputs, labels, batch_size=3)
    risk = c.Risk.of(linear, LOSS, batches)
    plain = c.Risk(linear, LOSS, *data(), batch_size=3)
    assert (risk.num_examples, risk.num_batches, risk.batch_size) == (7, 3, 3)
    assert int(risk.num_labels) == 6
    found = several(risk, W)
    # Derived by hand, so that no part of `Risk` is compared with itself alone.
    x, y = (np.asarray(a, np.float64) for a in data())
    p = jax.nn.softmax(jnp.asarray(x) @ W)
    counts = (y >= 0)[:, None] / 6
    gradient = x.T @ (counts * (p - np.eye(3)[y.astype(int)]))
    np.testing.assert_allclose(found[1], gradient, atol=1e-6)
    t = x @ np.cos(W)
    product = x.T @ (counts * (p * (t - np.sum(p * t, axis=1, keepdims=True))))
    for image in found[2:]:
        np.testing.assert_allclose(image, product, atol=1e-6)
    np.testing.assert_allclose(found[0], plain(W), rtol=1e-6)

    earlier, inputs[4, 0] = float(inputs[4, 0]), np.nan
    with pytest.raises(ValueError, match="`source` has other contents in batch 1 than"):
        jax.block_until_ready(several(risk, W))
    inputs[4, 0] = earlier
    np.testing.assert_array_equal(several(risk, W)[1], found[1])


def test_a_program_belongs_to_its_batches():
    """Other batches of the same shapes are not read by the program of the first ones."""
    mean = eqx.filter_jit(lambda risk, w: risk(w))
    square = c.SquaredError()
    risk_of = lambda scale: c.Risk.of(linear, square, c.Batches([(scale * np.eye(3), np.eye(3))]))
    assert [round(float(mean(risk_of(s), jnp.eye(3))), 5) for s in (1.0, 3.0)] == [0.0, 2.0]


def test_passes_are_in_order_and_complete():
    source = Passes(pairs())
    reader = BatchReader(source)
    assert (source.begun, source.read, reader.sizes) == (1, 3, [3, 3, 1])
    for _ in range(2):
        for index in range(3):
            np.testing.assert_array_equal(reader.read(index)[1], pairs()[index][1])
    assert (source.begun, source.read) == (3, 9)
    reader.read(2)  # not in order: those before it are passed over
    assert source.read == 12
    # A loader of PyTorch has lists.
    assert BatchReader([list(pair) for pair in pairs()]).read(2)[1] == pairs()[2][1]
    # NaN is equal to itself, unlike another NaN or another zero.
    nan = BatchReader([(np.array([np.nan, 0.0]), np.zeros(2))])
    assert np.isnan(nan.read(0)[0][0])


class SlowPairs:
    """Pairs that let other threads run while they are read."""

    def __iter__(self):
        for pair in pairs():
            time.sleep(1e-3)
            yield pair


def test_threads_that_pass_at_the_same_time():
    reader = BatchReader(SlowPairs())

    def one_pass(_):
        return [reader.read(n)[1].tolist() for n in range(3)]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(one_pass, range(8)))
    assert found == [[y.tolist() for _, y in pairs()]] * 8


def test_nothing_is_kept_of_all_batches():
    """The largest array is that of the indices of the batches, also in the gradient."""
    inputs, labels = np.ones((128, 3), np.float32), np.zeros(128, int)
    risk = c.Risk.of(linear, LOSS, c.Batches.of_arrays(inputs, labels, batch_size=2))
    for function in (
        lambda risk, w: jax.grad(risk)(w),
        lambda risk, w: jax.jvp(jax.grad(risk), (w,), (w,))[1],
        lambda risk, w: c.Hessian(risk, w).product()(w),
        lambda risk, w: c.GaussNewton(risk, w).product()(w),
    ):
        assert largest(eqx.filter_make_jaxpr(function)(risk, W)[0].jaxpr) == 64


SHAPE = "must have the same structure, shapes and dtypes"


@pytest.mark.parametrize(
    ("later", "index", "message"),
    [
        (pairs()[:2], 2, r"`source` ended before batch 2, but had 3 batches"),
        (pairs() + pairs()[:1], 2, r"`source` has a batch 3, but had 3 batches"),
        ([*pairs()[:1], pairs()[2], *pairs()[1:]], 1, "has 1 examples in batch 1, but had 3"),
        (pairs()[1::-1] + pairs()[2:], 0, "other contents in batch 0 than in its first pass"),
        (pairs(size=2), 0, "has 2 examples in batch 0, but had 3"),
        ([(x.astype(float), y) for x, y in pairs()], 0, SHAPE),
        ([(x[:, :2], y) for x, y in pairs()], 0, SHAPE),
        ([(x, {"y": y}) for x, y in pairs()], 0, SHAPE),
        ([x for x, _ in pairs()], 0, "as batch 0, but each batch must be a pair"),
    ],
)
def test_another_pass_that_differs(later, index, message):
    reader = BatchReader(Passes(pairs(), later, pairs()))
    with pytest.raises(ValueError, match=message):
        [reader.read(n) for n in range(index + 1)]
    np.testing.assert_array_equal(reader.read(0)[0], pairs()[0][0])  # the next pass begins again


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (iter(pairs()), "`source` is a list_iterator, which can be passed only once"),
        ((p for p in pairs()), "`source` is a generator, which can be passed only once"),
        ([], "`source` has no batches"),
        ([*pairs()[:1], pairs()[2], pairs()[1]], "has 1 examples in batch 1, but 3 in batch 0"),
        ([pairs()[2], pairs()[0]], "has 3 examples in batch 1, but 1 in batch 0"),
        ([(np.zeros((3, 2)), np.zeros(2))], r"has arrays \['float64 \(3, 2\)', 'float64 \(2,\)'\]"),
        ([(np.zeros((0, 2)), np.zeros(0))], "over at least one example"),
        ([(np.array(["a"]), np.zeros(1))], "must be numbers"),
        ([{"image": np.zeros(3)}], "has a dict as batch 0, but each batch must be a pair"),
    ],
)
def test_sources_that_are_no_batches(source, message):
    with pytest.raises(ValueError, match=message):
        c.Batches(source)


def test_what_a_risk_of_batches_rejects():
    batches = c.Batches(pairs())
    with pytest.raises(ValueError, match="`targets` is given, but `inputs` is a `Batches`"):
        c.Risk(linear, LOSS, batches, np.zeros(7))
    with pytest.raises(ValueError, match="`batch_size` is 2, but `inputs` is a `Batches` of 3"):
        c.Risk.of(linear, LOSS, batches, batch_size=2)
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        c.Batches.of_arrays(*data(), batch_size=0)
    with pytest.raises(ValueError, match=re.escape("shapes [(7, 3), (6,)]")):
        c.Batches.of_arrays(data()[0], np.zeros(6), batch_size=3)
    risk = c.Risk.of(linear, LOSS, batches)
    for needs_all in (lambda: risk.inputs, lambda: risk.targets, lambda: risk.batch(jnp.arange(2))):
        with pytest.raises(ValueError, match="`risk` reads its examples with `Batches`"):
            needs_all()
    wrong = c.Risk.of(linear, LOSS, c.Batches([(x, y + 2) for x, y in pairs()]))
    with pytest.raises(ValueError, match="`targets`"):  # labels 3 and 4 of 3 classes
        c.Hessian(wrong, W)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("vectors",))
    with pytest.raises(ValueError, match="`Risk` of `Batches`, and every device must hold all"):
        c.Lanczos(order=2, num_vectors=2, mesh=mesh)(c.Hessian(risk, W), key=KEY)


def network():
    make = lambda key: eqx.nn.MLP(3, 3, 4, 1, activation=jnp.tanh, key=key)
    return drawn(make, np.random.default_rng(3))


@eqx.filter_jit
def everything(risk, model):
    """Everything that accepts batches."""
    hessian, gauss_newton = c.Hessian(risk, model), c.GaussNewton(risk, model)
    block = c.Block(gauss_newton, lambda m: m.layers[0])
    sampled = c.Fisher(risk, model, factor=c.Sampled(KEY, num_samples=2))
    jacobian = c.jacobian(risk, model)
    vector = jax.tree.map(jnp.cos, eqx.filter(model, eqx.is_inexact_array))
    return {
        "hessian": hessian.mv(vector),
        "sampled": sampled.mv(vector),
        "empirical": c.Fisher(risk, model, factor=c.Empirical()).mv(vector),
        "gram": c.Gram(risk, model).dense(),
        "block": c.GramEigh()(block, key=KEY).nodes,
        "lanczos": c.Lanczos(order=4, num_vectors=2)(hessian, key=KEY).nodes,
        "diagonal": c.ExactDiagonal()(gauss_newton, key=KEY).value,
        "gradients": c.example_gradients(risk, model),
        "kfac": c.KFAC(risk, model).mv(vector),
        "ekfac": c.EKFAC(risk, model).mv(vector),
        "error": c.kfac_error(risk, model),
        "jacobian": jacobian.mv(vector),
        "transposed": jacobian.T.mv(jnp.ones((7, 3))),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_all_that_accepts_batches():
    model, (inputs, labels) = network(), data()
    plain = everything(
        c.Risk(over_examples, LOSS, inputs.astype(float), labels, batch_size=3), model
    )
    risk, one_batch = (
        c.Risk.of(over_examples, LOSS, c.Batches([(x.astype(float), y) for x, y in source]))
        for source in (pairs(), pairs(size=7))
    )
    found = everything(risk, model)
    vector = jax.tree.map(jnp.cos, eqx.filter(model, eqx.is_inexact_array))
    of_one_batch = {"hessian": c.Hessian(one_batch, model).mv(vector)}
    for results in (found, of_one_batch):
        for name, result in results.items():
            a, b = (ravel_pytree(eqx.filter(t, eqx.is_array))[0] for t in (plain[name], result))
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12, err_msg=name)
    for sign in (
        lambda: c.neural_tangent_spectrum(risk, model),
        lambda: c.noisy_one_step_gain(risk, model, minibatch_size=2, num_samples=2, key=KEY),
    ):
        with pytest.raises(ValueError, match="`risk` reads its examples with `Batches`"):
            sign()


@pytest.mark.slow
def test_data_sets_of_tensorflow():
    tf = pytest.importorskip("tensorflow")
    tfds = pytest.importorskip("tensorflow_datasets")
    made = tf.data.Dataset.from_tensor_slices(data())
    plain = several(c.Risk(linear, LOSS, *data(), batch_size=3), W)
    for source in (made.batch(3), tfds.as_numpy(made.batch(3))):
        found = several(c.Risk.of(linear, LOSS, c.Batches(source)), W)
        for a, b in zip(found, plain, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    with pytest.raises(ValueError, match="other contents in batch"):
        several(c.Risk.of(linear, LOSS, c.Batches(made.shuffle(7, seed=1).batch(3))), W)
