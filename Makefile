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

clean:
	rm -rf $(BUILD)

.PHONY: all demo check clean
