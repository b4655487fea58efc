# kill -9 and power cuts; 10,000 cycles are in `make long`.
. test/crash/stage.sh
