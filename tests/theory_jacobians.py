"""Networks of ReLUs in NumPy: outputs, Jacobians and Hessians without compiling anything."""

import numpy as np


def pairs_of(model):
    return [(np.asarray(layer.weight), np.asarray(layer.bias)) for layer in model.layers]


def outputs_and_jacobian(pairs, inputs):
    """Of a network of ReLUs, in NumPy: [examples, outputs] and [examples * outputs, parameters]."""
    activations, slopes = [inputs], []
    for index, (weight, bias) in enumerate(pairs):
        pre = activations[-1] @ weight.T + bias
        last = index == len(pairs) - 1
        activations.append(pre if last else np.maximum(pre, 0))
        slopes.append(np.ones_like(pre) if last else (pre > 0).astype(float))
    outputs = activations[-1]
    signal = np.broadcast_to(np.eye(outputs.shape[1]), (len(inputs), *2 * outputs.shape[1:]))
    columns = []
    for (weight, _), before, slope in zip(
        pairs[::-1], activations[-2::-1], slopes[::-1], strict=True
    ):
        signal = signal * slope[:, None]
        by_weight = np.einsum("noj,ni->noji", signal, before).reshape(outputs.size, -1)
        columns = [by_weight, signal.reshape(outputs.size, -1), *columns]
        signal = signal @ weight
    return outputs, np.concatenate(columns, axis=1)


def two_layer_hessian(pairs, inputs, targets):
    """Of half the mean squared error, from the Jacobian and the second derivatives: those in an
    incoming and an outgoing weight of the same active unit."""
    outputs, jacobian = outputs_and_jacobian(pairs, inputs)
    hessian = jacobian.T @ jacobian / len(inputs)
    (first, bias), (second, _) = pairs
    residual = outputs - targets
    incoming = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    of_bias, of_second = first.size, first.size + bias.size
    for unit in range(len(bias)):
        active = inputs @ first[unit] + bias[unit] > 0
        block = incoming[active].T @ residual[active] / len(inputs)
        size = first.shape[1]
        rows = [*range(unit * size, (unit + 1) * size), of_bias + unit]
        columns = of_second + unit + len(bias) * np.arange(second.shape[0])
        hessian[np.ix_(rows, columns)] += block
        hessian[np.ix_(columns, rows)] += block.T
    return hessian
