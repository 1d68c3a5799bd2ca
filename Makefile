# SPDX-License-Identifier: Apache-2.0
# The build is Meson's; these are the words people type.
BUILD ?= build

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	tools/setup
	meson setup $(BUILD) $(MESON_FLAGS)

# A real server goes from libvirt to a booted image. KEEP=1 leaves everything running.
demo:
	tools/demo

check:
	tools/check

# Every parser of foreign bytes under libFuzzer for SECONDS each; and what its corpus reaches.
SECONDS ?= 60
fuzz:
	FUZZ_SECONDS=$(SECONDS) test/fuzz/run
coverage:
	test/fuzz/coverage

clean:
	rm -rf $(BUILD) build-fuzz build-coverage

.PHONY: all demo check fuzz coverage clean
