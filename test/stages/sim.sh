# The seeded simulations of ledger and planner, and their controls.
. test/sim/stage.sh
