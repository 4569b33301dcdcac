from ._benchmark import Benchmark as Benchmark
from ._checkpoint import OrbaxCheckpointer as OrbaxCheckpointer
from ._collapse import collapse_task as collapse_task
from ._continual_imagenet import continual_imagenet as continual_imagenet
from ._data import prepare_data as prepare_data, prepared_data as prepared_data
from ._experiment import Experiment as Experiment
from ._figures import draw_figures as draw_figures
from ._folder import (
    load_results as load_results,
    Member as Member,
    Results as Results,
    save_summary as save_summary,
)
from ._incremental_cifar import incremental_cifar as incremental_cifar
from ._landscape_figure import draw_landscapes as draw_landscapes
from ._load import load as load, tidy as tidy
from ._meters import Meters as Meters
from ._permuted_mnist import permuted_mnist as permuted_mnist
from ._progress import ProgressBar as ProgressBar
from ._read_experiment import (
    load_experiment as load_experiment,
    make_experiment as make_experiment,
)
from ._report import write_report as write_report
from ._run import run_experiment as run_experiment
from ._run_landscapes import draw_run_landscapes as draw_run_landscapes
from ._settings import SettingsError as SettingsError
from ._side_by_side import draw_side_by_side as draw_side_by_side
from ._slippery_ant import slippery_ant as slippery_ant
from ._summary import summarise as summarise
from ._sweep import (
    load_sweep as load_sweep,
    run_sweep as run_sweep,
    Score as Score,
    select as select,
    Sweep as Sweep,
    sweep_table as sweep_table,
)
from ._table import table as table
from ._tensorboard import TensorBoard as TensorBoard
from ._wandb import WeightsAndBiases as WeightsAndBiases
