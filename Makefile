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

# Without sanitizers, into the prefix of Meson (/usr/local).
install:
	tools/setup
	[ -f build-release/build.ninja ] || meson setup build-release --buildtype=release \
		-Db_sanitize=none -Dwerror=false $(MESON_FLAGS)
	ninja -C build-release install

clean:
	rm -rf $(BUILD) build-release build-fuzz build-coverage

.PHONY: all demo check fuzz coverage install clean
