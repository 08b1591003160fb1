"""Modes: which actions with which weights, how many writers, how often everything is looked at.

A figure that somebody wants to know is a run of the runner with restricted
weights.  What a mode counts is in the summary, with the names of scenario_faults.py.
"""

import scenario_actions
import scenario_ddl
import scenario_faults
import scenario_smith

ACTIONS = dict(scenario_actions.ACTIONS)
ACTIONS.update(scenario_faults.ACTIONS)
ACTIONS.update(scenario_smith.ACTIONS)
ACTIONS.update(ddl=scenario_ddl.ddl, setting=scenario_ddl.setting)

ROWS = dict(dml=10, big=3, savepoints=3, prepared=6, truncate=2)
VIEWS = dict(create_view=8, move=3, drop_view=3, pause=2, resume=2, replace_view=4, subscribe=3, history=2, release=2, repair=3, refresh=2,
             view_again=2, view_ddl=2, owner=1, verify=4, consistent=4, poll=8, remember=3)
TABLES = dict(ddl=14, create_index=2, drop_index=1, reindex=1, index_of_key=2, constraints=2, other_identity=2, part_again=2,
              unused_column=2, rewrite=2, vacuum=2, columns=2, rename=2, change_type=2, swap_names=1, column_again=1, partition=3, identity=1)
REST = dict(setting=8, slow_reader=3, hold_lock=6, freeze=3, terminate=2, old_rows=2)
FAULTS = dict(kill_worker=5, kill_builder=3, kill_other=2, kill_at_point=3, kill_postmaster=3, restart=2, without_library=1, stop_and_go=3,
              disk_full=1, out_of_memory=2, slot_dropped=1, slot_limit=1, promote=1, dump_restore=1)


class Mode:
    def __init__(self, *weights, writers=2, pace=0.03, views=6, most_views=12, check_share=0.2, world_actions=60, watched=False, probed=False):
        self.weights = {}
        for some in weights:
            self.weights.update(some)
        unknown = set(self.weights) - set(ACTIONS)
        assert not unknown, unknown
        self.writers = writers          # sessions that write all the time
        self.pace = pace                # seconds between transactions of each
        self.views = views              # at the start of a world
        self.most_views = most_views
        self.check_share = check_share  # of actions after which everything is looked at
        self.world_actions = world_actions
        self.watched = watched          # memory of the worker and sizes, over time
        self.probed = probed            # how long a small transaction takes


CALM = dict(dml=2, create_view=1, drop_view=1, poll=2, subscribe=1, hold_lock=1)

MODES = {
    'mixed': Mode(ROWS, VIEWS, TABLES, REST, FAULTS),
    # no misfortune: what is wrong here is wrong in the ordinary case
    'calm': Mode(ROWS, VIEWS, TABLES, REST),
    'worker-kills': Mode(CALM, dict(kill_worker=60, kill_builder=4, kill_at_point=4), writers=3, pace=0.01, check_share=0.03, world_actions=250),
    'postmaster-kills': Mode(CALM, dict(kill_postmaster=40, restart=10), writers=3, pace=0.01, check_share=0.1, world_actions=80),
    'disk-full': Mode(CALM, dict(disk_full=10), writers=2, pace=0.02, check_share=0.1, world_actions=30),
    'slot-loss': Mode(CALM, dict(slot_limit=20, slot_dropped=10), writers=3, pace=0.01, check_share=0.3, world_actions=30, probed=True),
    'oom': Mode(CALM, dict(out_of_memory=10), writers=2, pace=0.02, check_share=0.3, world_actions=30),
    'failover': Mode(CALM, dict(promote=10), writers=2, pace=0.02, check_share=0.3, world_actions=25),
    'ddl': Mode(ROWS, dict(ddl=40, setting=5), TABLES, check_share=0.2),
    'sqlsmith': Mode(dict(dml=2, sqlsmith=10), writers=1, pace=0.2, views=30, most_views=30, check_share=0.2, world_actions=12),
    # one world for the whole time
    'soak': Mode(dict(dml=10, big=1, savepoints=2, prepared=3, truncate=1, poll=10, verify=10, consistent=5, create_view=1, drop_view=1, repair=1,
                      freeze=1, hold_lock=2, vacuum=4), writers=3, pace=0.005, check_share=0.05, world_actions=10 ** 6, watched=True, probed=True),
}
