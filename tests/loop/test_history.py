import numpy as np

from spectral import History
from spectral._history import extend


def test_rows_that_were_never_set_are_nan():
    history = extend(History({}), {"a": np.array([1.0, 2.0])}, 0)
    history = extend(history, {"b": np.array([[5.0, 6.0]])}, 3)
    nan = np.nan
    np.testing.assert_array_equal(history["a"], [1, 2, nan, nan])
    np.testing.assert_array_equal(history["b"], [[nan, nan]] * 3 + [[5, 6]])
    later = extend(history, {"a": np.array([7.0])}, 2)
    np.testing.assert_array_equal(later["a"], [1, 2, 7, nan])
    np.testing.assert_array_equal(history["a"], [1, 2, nan, nan])
    assert later.num_tasks == 4
    assert sorted(later) == ["a", "b"]
    assert "a: [4]" in repr(later)
    assert extend(later, {}, 9) is later
