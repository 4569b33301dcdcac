from .analysis._collapse import collapse_task as collapse_task
from .analysis._collapse_test import collapse_test as collapse_test, CollapseTest as CollapseTest
from .analysis._lead_time import lead_time as lead_time, LeadTime as LeadTime
from .analysis._load import load as load, tidy as tidy
from .analysis._summary import summarise as summarise
from .analysis._table import table as table
from .claims._claim import Claim as Claim, detectable as detectable
from .claims._claims import paper_claims as paper_claims
from .claims._judge_all import judge_claims as judge_claims, Verdicts as Verdicts
from .claims._pages import write_claims as write_claims
from .claims._table import claims_table as claims_table
from .claims._verdict import judge as judge, Verdict as Verdict
from .command_line._data import prepare_data as prepare_data, prepared_data as prepared_data
from .command_line._examples import (
    known_examples as known_examples,
    write_example as write_example,
)
from .command_line._parts import describe_part as describe_part, known_parts as known_parts
from .experiment._benchmark import Benchmark as Benchmark
from .experiment._experiment import Experiment as Experiment
from .experiment._from_parts import experiment_of as experiment_of
from .experiment._make import make_experiment as make_experiment
from .experiment._settings import SettingsError as SettingsError
from .figures._figures import draw_figures as draw_figures
from .figures._landscape_figure import draw_landscapes as draw_landscapes
from .figures._predictors_figure import draw_predictors as draw_predictors
from .figures._run_landscapes import draw_run_landscapes as draw_run_landscapes
from .figures._side_by_side import draw_side_by_side as draw_side_by_side
from .predictors._protocol import (
    AppliedProtocol as AppliedProtocol,
    PredictorProtocol as PredictorProtocol,
)
from .predictors._rank_predictors import rank_predictors as rank_predictors
from .predictors._ranking import PredictorRanking as PredictorRanking, RankedSign as RankedSign
from .predictors._save import save_predictors as save_predictors
from .predictors._text import predictors_table as predictors_table
from .published._continual_imagenet import continual_imagenet as continual_imagenet
from .published._incremental_cifar import incremental_cifar as incremental_cifar
from .published._load import load_experiment as load_experiment
from .published._permuted_mnist import permuted_mnist as permuted_mnist
from .published._slippery_ant import slippery_ant as slippery_ant
from .report._report import write_report as write_report
from .runs._results import (
    load_results as load_results,
    Member as Member,
    Results as Results,
    save_summary as save_summary,
)
from .runs._run import run_experiment as run_experiment
from .runs._saved import load_learner as load_learner
from .runs._score import Score as Score
from .runs._selection import select as select, sweep_table as sweep_table
from .runs._sweep import (
    load_sweep as load_sweep,
    run_sweep as run_sweep,
    Sweep as Sweep,
    sweep_of as sweep_of,
)
from .runs.cluster._cluster import AbstractCluster as AbstractCluster
from .runs.cluster._ray import RayCluster as RayCluster
from .runs.cluster._slurm import SlurmCluster as SlurmCluster
from .runs.cluster._this_process import ThisProcess as ThisProcess
from .runs.planning._dry_run import dry_run as dry_run
from .runs.planning._plan import GroupPlan as GroupPlan, Plan as Plan, plan_table as plan_table
from .suite._baselines import suite_baselines as suite_baselines
from .suite._score_algorithm import score_algorithm as score_algorithm
from .suite._suite import load_suite as load_suite, Suite as Suite, SuiteStream as SuiteStream
from .suite._suite_table import suite_table as suite_table
from .suite._summary_file import (
    load_suite_summary as load_suite_summary,
    StreamScore as StreamScore,
    SuiteSummary as SuiteSummary,
)
