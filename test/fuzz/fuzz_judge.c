// SPDX-License-Identifier: Apache-2.0
/* Statements of witnesses: u8 witness, u8 tenths of a second, u16 length, text. */
#include <assert.h>
#include <string.h>

#include "guest/judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct judge j;
	struct buf clean = {0};
	char sentence[512];
	int64_t now = 1000;

	judge_init(&j, now, 60000);
	while (n >= 4) {
		size_t length = data[2] | (size_t)data[3] << 8;
		enum witness w = (enum witness)(data[0] % (WITNESS_STILL + 1));

		now += data[1] * 100;
		data += 4;
		n -= 4;
		if (length > n)
			length = n;
		judge_hear(&j, w, (const char *)data, length, now);
		buf_clear(&clean);
		text_clean((const char *)data, length, 100, &clean);
		assert(clean.len <= 100 && !memchr(buf_str(&clean), 0x1b, clean.len));
		data += length;
		n -= length;
	}
	judge_tick(&j, now + 60000 * JUDGE_PATIENCE_TIMES);
	assert(j.verdict != VERDICT_NONE);
	judge_sentence(&j, sentence, sizeof sentence);
	assert(strlen(sentence) > 0 && !strchr(sentence, 0x1b) && !strchr(sentence, '\n'));
	judge_release(&j);
	buf_release(&clean);
	return 0;
}
