# An installed Ultravisor under a real PID 1 (systemd 252, D-Bus, polkit) in the nspawn bed of LAB.md. Each file of
# test/systemd has a bed of its own, booted in under a second.
. test/systemd/stage.sh
