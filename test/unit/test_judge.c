// SPDX-License-Identifier: Apache-2.0
#include "test.h"

#include "base/mem.h"
#include "guest/judge.h"
#include "guest/screen.h"
#include "guest/signs.h"

#define PATIENCE_MS 300000 /* grace 10 s, a panic's 3.3 s, settling 20 s */
#define START	    1000000

static struct judge judge;
static char sentence[600];

static enum verdict serial(int64_t after_ms, const char *text)
{
	return judge_hear(&judge, WITNESS_SERIAL, text, strlen(text), START + after_ms);
}

static enum verdict screen(int64_t after_ms, const char *text)
{
	return judge_hear(&judge, WITNESS_SCREEN, text, strlen(text), START + after_ms);
}

static enum verdict hear(int64_t after_ms, enum witness w, const char *text)
{
	return judge_hear(&judge, w, text, strlen(text), START + after_ms);
}

static enum verdict tick(int64_t after_ms)
{
	enum verdict v = judge_tick(&judge, START + after_ms);

	judge_sentence(&judge, sentence, sizeof sentence);
	return v;
}

static int begin(void **state)
{
	(void)state;
	judge_init(&judge, START, PATIENCE_MS);
	return 0;
}

static int end(void **state)
{
	(void)state;
	judge_release(&judge);
	return 0;
}

static void assert_says(const char *part)
{
	if (!strstr(sentence, part))
		fail_msg("\"%s\" is not in: %s", part, sentence);
}

static const char systemd_boot[] =
    "\033[H\033[J\033[1;1HGRUB loading.\r\nWelcome to GRUB!\r\n\r\n"
    "[    0.000000] Linux version 6.1.0-37-cloud-amd64 (debian-kernel@lists.debian.org)\r\n"
    "[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=UUID=1 ro console=ttyS0\r\n"
    "Loading, please wait...\r\n"
    "/dev/vda1: clean, 20121/122160 files, 151000/488000 blocks\r\n"
    "\r\nWelcome to \033[1mDebian GNU/Linux 12 (bookworm)\033[0m!\r\n\r\n"
    "[\033[0;32m  OK  \033[0m] Created slice \033[0;1;39msystem-getty.slice\033[0m.\r\n";

static void a_login_prompt_is_proof_after_settling(void **state)
{
	(void)state;
	assert_int_equal(serial(20000, systemd_boot), VERDICT_NONE);
	assert_int_equal(serial(30000, "\r\nDebian GNU/Linux 12 web01 ttyS0\r\n\r\nweb01 log"),
			 VERDICT_NONE);
	assert_int_equal(judge.alive_at, 0);
	assert_int_equal(serial(31000, "in: "), VERDICT_NONE);
	assert_int_equal(judge.alive_at, START + 31000);
	assert_int_equal(tick(50999), VERDICT_NONE);
	assert_int_equal(tick(51000), VERDICT_BOOTED);
	assert_says("web01 login:");
	assert_says("31 s");
	/* A decision stays. */
	assert_int_equal(serial(60000, "Kernel panic - not syncing: late\n"), VERDICT_BOOTED);
	assert_int_equal(tick(900000), VERDICT_BOOTED);
}

static void words_about_logins_are_no_prompt(void **state)
{
	(void)state;
	serial(1000, "Last login:");
	serial(1000, " Fri Nov 20\n");
	serial(2000, "systemd-logind: new login: root\n");
	serial(3000, "blogin:\n");
	assert_int_equal(judge.alive_at, 0);
}

static void reaching_a_target_is_proof(void **state)
{
	static const char *const lines[] = {
	    "[  OK  ] Reached target \033[0;1;39mmulti-user.target\033[0m - Multi-User System.\r\n",
	    "[\033[32m  OK  \033[0m] Reached target Graphical Interface.\r\n",
	    "[   12.345678] systemd[1]: Reached target Multi-User System.\r\n",
	};

	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		end(state);
		begin(state);
		serial(1000, "[  OK  ] Reached target local-fs.target - Local File Systems.\r\n");
		assert_int_equal(judge.alive_at, 0);
		serial(2000, lines[i]);
		assert_int_equal(judge.alive_at, START + 2000);
	}
}

static void banner_and_agent_are_proof(void **state)
{
	hear(5000, WITNESS_SSH, "HTTP/1.0 400 no\r\n");
	assert_int_equal(judge.alive_at, 0);
	hear(6000, WITNESS_SSH, "SSH-2.0-OpenSSH_9.2p1\r\n");
	assert_int_equal(tick(26000), VERDICT_BOOTED);
	assert_says("SSH-2.0-OpenSSH_9.2p1");
	end(state);
	begin(state);
	hear(6000, WITNESS_AGENT, "");
	assert_int_equal(tick(26000), VERDICT_BOOTED);
	assert_says("guest agent");
}

static void failed_units_degrade(void **state)
{
	(void)state;
	serial(1000, systemd_boot);
	serial(2000, "[\033[0;1;31mFAILED\033[0m] Failed to start \033[0;1;39mnginx.service\033[0m"
		     " - A high performance web server.\r\n"
		     "See 'systemctl status nginx.service' for details.\r\n"
		     "[\033[0;1;38;5;185mDEPEND\033[0m] Dependency failed for shop.service.\r\n");
	serial(3000, "web01 login: ");
	serial(4000, "[   20.1] systemd[1]: Failed to start late.service.\r\n");
	serial(4001, "[FAILED] Failed to start late.service.\r\n");
	assert_int_equal(tick(23000), VERDICT_DEGRADED);
	assert_says("nginx.service - A high performance web server, shop.service, late.service");
	assert_int_equal(judge.failed_count, 3);
}

static void a_unit_whose_name_was_cut_is_counted_once(void **state)
{
	(void)state;
	serial(1000,
	       "[    5.1] systemd[1]: Dependency failed for local-fs.target - Local File "
	       "Systems.\r\n"
	       "[DEPEND] Dependency failed for loca\xe2\x80\xa6s.target - Local File Systems.\r\n"
	       "[DEPEND] Dependency failed for syst\xe2\x80\xa6"
	       "ck on /dev/vdb.\r\n"
	       "[    5.2] systemd[1]: Dependency failed for systemd-fsck@vdb.service - Check on "
	       "/dev/vdb.\r\n"
	       "[DEPEND] Dependency failed for \xe2\x80\xa6.\r\n");
	serial(3000, "web01 login: ");
	assert_int_equal(tick(23000), VERDICT_DEGRADED);
	assert_says("2 failed: local-fs.target - Local File Systems, ");
}

static void a_panic_decides_after_a_third_of_the_grace(void **state)
{
	(void)state;
	serial(1000,
	       "[    2.1] VFS: Cannot open root device \"UUID=1\" or unknown-block(0,0)\r\n"
	       "[    2.2] Kernel panic - not syncing: VFS: Unable to mount root fs on "
	       "unknown-block(0,0)\r\n[    2.3] CPU: 0 PID: 1 Comm: swapper/0 Not tainted\r\n");
	assert_int_equal(tick(4000), VERDICT_NONE);
	assert_int_equal(tick(4400), VERDICT_NOT_BOOTED);
	assert_says("could not mount its root file system");
	assert_says("1.0 s");
}

static void a_line_that_comes_in_pieces_is_quoted_whole(void **state)
{
	(void)state;
	serial(1000, "[    4.1] Kernel panic - not syncing");
	serial(1001, ": VFS: Unable to mount root fs");
	serial(1002, " on unknown-block(0,0)\r\n[    4.2] CPU: 0 PID: 1\r\n");
	serial(1003, "[    4.3] ---[ end Kernel panic - not syncing: VFS ]---\r\n");
	assert_int_equal(tick(4400), VERDICT_NOT_BOOTED);
	assert_says("could not mount its root file system: \"[    4.1] Kernel panic - not syncing: "
		    "VFS: Unable to mount root fs on unknown-block(0,0)\", after 1.0 s");
}

static void a_panic_after_proof_still_counts(void **state)
{
	(void)state;
	serial(1000, "web01 login: ");
	serial(2000, "[    9.2] Kernel panic - not syncing: Fatal exception\r\n");
	assert_int_equal(tick(6000), VERDICT_NOT_BOOTED);
	assert_says("Fatal exception");
}

static void qemus_panic_event_counts(void **state)
{
	(void)state;
	hear(1000, WITNESS_PANIC, "");
	assert_int_equal(tick(5000), VERDICT_NOT_BOOTED);
	assert_says("the guest panicked, after");
}

static void what_a_boot_loader_says_is_taken_back_by_a_kernel(void **state)
{
	(void)state;
	serial(1000, "error: no such device: 6e5a-11.\r\n\r\nPress any key to continue...\r\n");
	assert_int_equal(tick(9000), VERDICT_NONE);
	serial(9500, "[    0.000000] Linux version 6.1.0\r\n");
	assert_int_equal(tick(60000), VERDICT_NONE);
	serial(61000, "web01 login: ");
	assert_int_equal(tick(82000), VERDICT_BOOTED);
}

static void grub_rescue_says_why(void **state)
{
	(void)state;
	serial(1000, "GRUB loading.\r\nWelcome to GRUB!\r\n\r\nerror: no such device: 0a1b-22.\r\n"
		     "Entering rescue mode...\r\ngrub rescue> ");
	assert_int_equal(tick(10999), VERDICT_NONE);
	assert_int_equal(tick(11000), VERDICT_NOT_BOOTED);
	assert_says("error: no such device: 0a1b-22.");
}

static void prompts_nobody_answers_are_stops(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
	    {"GNU GRUB  version 2.06\r\n\r\ngrub> ", "GRUB's prompt"},
	    {"\033[2J\033[24;1Hgrub> ", "GRUB's prompt"},
	    {"Press \033[1mESC\033[0m to skip\033[08;01H\033[1mShell> \033[0m",
	     "found no boot loader"},
	    {"Gave up waiting for root file system device.  Common problems:\r\n"
	     "ALERT!  UUID=77 does not exist.  Dropping to a shell!\r\n\r\n\r\n"
	     "BusyBox v1.35.0 (Debian 1:1.35.0-4+b3) built-in shell (ash)\r\n"
	     "Enter 'help' for a list of built-in commands.\r\n\r\n(initramfs) ",
	     "ALERT!  UUID=77 does not exist."},
	    {"You are in emergency mode. After logging in, type \"journalctl -xb\" to view\r\n"
	     "Give root password for maintenance\r\n(or press Control-D to continue): ",
	     "emergency mode"},
	    {"Booting from Hard Disk...\r\nBoot failed: not a bootable disk\r\n\r\n"
	     "No bootable device.\r\n",
	     "no boot sector"},
	    {"Begin: Waiting for root file system ...\r\ndracut-initqueue timeout\r\n"
	     "Generating \"/run/initramfs/rdsosreport.txt\"\r\ndracut:/# ",
	     "initial RAM disk"},
	    {"Welcome to emergency mode! After logging in, type \"journalctl -xb\"\r\n"
	     "Press Enter for maintenance\r\n(or press Control-D to continue): ",
	     "emergency mode"},
	    {"mountroot> ", "root file system"},
	    {"Please unlock disk sda5_crypt: ", "passphrase of an encrypted disk"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		end(state);
		begin(state);
		serial(1000, cases[i].text);
		assert_int_equal(tick(10999), VERDICT_NONE);
		assert_int_equal(tick(11000), VERDICT_NOT_BOOTED);
		assert_says(cases[i].says);
	}
}

static void screens_nobody_leaves_are_stops(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
	    {"Booting from Hard Disk...\nMissing operating systen\n", "found no system"},
	    {"grub rescuo> _\n", "GRUB's rescue shell"},
	    {"BusyBox v1.35.0 built-in shell (ash)\n\n(initranfs) _\n", "initial RAM disk"},
	    {"[ 2.1] ---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x0\n",
	     "the kernel panicked"},
	    {":(\nYour PC ran into a problen and needs to restart. We're just\n", "blue screen"},
	    {"Stop code: INACCESSIBLE BOOT DEVICE\n", "did not find its boot disk"},
	    {"A problem has been detected and Windows has been shut down to prevent damage\n",
	     "blue screen"},
	    {"Give root password for maintenance\n(or press Control-D to continue):\n",
	     "emergency mode"},
	    {"Recovery\nIt looks like Windows didn't load correctly\n", "recovery environment"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		end(state);
		begin(state);
		screen(1000, cases[i].text);
		assert_int_equal(tick(11000), VERDICT_NOT_BOOTED);
		assert_says(cases[i].says);
	}
}

/* Every five seconds from `from_ms` on the guest is seen to stand still; the first decision. */
static enum verdict still(int64_t from_ms, int64_t until_ms, const char *bytes_read)
{
	enum verdict v = VERDICT_NONE;

	for (int64_t at = from_ms; at <= until_ms && v == VERDICT_NONE; at += 5000)
		v = hear(at, WITNESS_STILL, bytes_read);
	return v;
}

static void standing_still_in_the_boot_sector_is_a_stop(void **state)
{
	(void)state;
	screen(5000, "SeaBIOS (version 1.16.2-debian-1.16.2-1)\n\nBooting from Hard Disk...\n");
	assert_int_equal(still(5000, 45000, "512"), VERDICT_NONE);
	assert_int_equal(still(50000, 50000, "512"), VERDICT_NOT_BOOTED);
	tick(50000);
	assert_says("in the boot sector of its disk");
	assert_says("512 B");
	assert_says("Booting from Hard Disk...");
	assert_says("after 5.0 s");
}

static void whatever_moves_ends_standing_still(void **state)
{
	static const enum witness moves[] = {WITNESS_MOVED, WITNESS_SERIAL, WITNESS_RESET};

	for (size_t i = 0; i < COUNT_OF(moves); i++) {
		end(state);
		begin(state);
		screen(5000, "Booting from Hard Disk...\n");
		assert_int_equal(still(5000, 40000, "512"), VERDICT_NONE);
		hear(41000, moves[i], "x");
		assert_int_equal(still(45000, 85000, "512"), VERDICT_NONE);
		assert_int_equal(still(90000, 90000, "512"), VERDICT_NOT_BOOTED);
	}
}

static void a_quiet_system_is_no_stop(void **state)
{
	(void)state;
	/* Its screen still shows the boot loader, its console is elsewhere, and it has nothing to do. */
	screen(5000, "Booting from Hard Disk...\nGRUB loading.\nWelcome to GRUB!\n");
	assert_int_equal(still(5000, PATIENCE_MS - 1, "52428800"), VERDICT_NONE);
	assert_int_equal(tick(PATIENCE_MS), VERDICT_UNPROVEN);
	end(state);
	begin(state);
	/* Small systems are systems, too. */
	screen(5000, "C:\\>\n");
	assert_int_equal(still(5000, PATIENCE_MS - 1, "200000"), VERDICT_NONE);
	assert_int_equal(tick(PATIENCE_MS), VERDICT_UNPROVEN);
}

static void standing_still_in_a_loader_is_a_stop(void **state)
{
	(void)state;
	screen(5000, "        GNU GRUB  version 2.06-13+deb12u1\n *Debian GNU/Linux\n");
	assert_int_equal(still(5000, 50000, "3000000"), VERDICT_NOT_BOOTED);
	tick(50000);
	assert_says("GRUB's menu");
	end(state);
	begin(state);
	serial(1000, "BdsDxe: loading Boot0002\r\nBdsDxe: starting Boot0002 from PciRoot(0x0)\r\n");
	assert_int_equal(still(5000, 50000, "3000000"), VERDICT_NOT_BOOTED);
	tick(50000);
	assert_says("UEFI boot loader");
	end(state);
	begin(state);
	screen(5000, "");
	assert_int_equal(still(5000, 50000, "65535"), VERDICT_NOT_BOOTED);
	tick(50000);
	assert_says("before a system was loaded");
}

static void emergency_mode_is_not_taken_back_by_kernel_lines(void **state)
{
	(void)state;
	serial(1000,
	       "[DEPEND] Dependency failed for /data.\r\nYou are in emergency mode. After\r\n");
	serial(2000,
	       "[   30.1] random: crng init done\r\n[  OK  ] Reached target emergency.target\r\n");
	assert_int_equal(tick(11000), VERDICT_NOT_BOOTED);
	assert_says("failed: /data");
}

static void proof_takes_evidence_back(void **state)
{
	(void)state;
	serial(1000, "You are in rescue mode\r\n");
	hear(5000, WITNESS_SSH, "SSH-2.0-x\r\n");
	assert_int_equal(tick(25000), VERDICT_BOOTED);
}

static void the_screen_is_read_with_wrong_letters(void **state)
{
	(void)state;
	screen(1000, "SeaBIOS (version 1.16.2-debian-1.16.2-1)\n\nBooting from Hard Disk. ..\n"
		     "Boot fai1ed: not a bootable disk\n\nNo bootab1e device,\n");
	assert_int_equal(tick(11000), VERDICT_NOT_BOOTED);
	assert_says("not a bootable disk");
}

static void what_the_screen_shows_no_more_is_taken_back(void **state)
{
	(void)state;
	screen(1000, "No bootable device.\n");
	assert_int_not_equal(judge.stop_at, 0);
	screen(6000, "Loading Linux ...\n");
	assert_int_equal(judge.stop_at, 0);
	screen(60000, "Debian GNU/Linux 12 web01 tty1\n\nweb01 login: _\n");
	assert_int_equal(tick(80000), VERDICT_BOOTED);
	assert_says("on the screen");
}

static void three_resets_decide(void **state)
{
	(void)state;
	assert_int_equal(hear(1000, WITNESS_RESET, ""), VERDICT_NONE);
	serial(2000, "web01 login: "); /* up between resets is not up */
	assert_int_equal(hear(3000, WITNESS_RESET, ""), VERDICT_NONE);
	assert_int_equal(judge.alive_at, 0);
	assert_int_equal(hear(5000, WITNESS_RESET, ""), VERDICT_NOT_BOOTED);
	tick(5000);
	assert_says("kept resetting itself (3 times)");
}

static void one_reset_is_forgiven(void **state)
{
	(void)state;
	serial(1000, "error: no such device: x\n");
	hear(2000, WITNESS_RESET, "");
	serial(30000, "web01 login: ");
	assert_int_equal(tick(50000), VERDICT_BOOTED);
}

static void power_off_and_crash(void **state)
{
	assert_int_equal(hear(1000, WITNESS_SHUTDOWN, ""), VERDICT_NOT_BOOTED);
	tick(1000);
	assert_says("powered itself off");
	end(state);
	begin(state);
	serial(500, "web01 login: ");
	assert_int_equal(hear(1000, WITNESS_SHUTDOWN, ""), VERDICT_DEGRADED);
	end(state);
	begin(state);
	assert_int_equal(hear(1000, WITNESS_CRASH, "killed by \033[1msignal 11"),
			 VERDICT_NOT_BOOTED);
	tick(1000);
	assert_says("QEMU ended by itself: killed by signal 11");
}

static void silence_is_unproven(void **state)
{
	(void)state;
	serial(1000, "some firmware\r\n\r\n");
	assert_int_equal(tick(PATIENCE_MS - 1), VERDICT_NONE);
	assert_int_equal(tick(PATIENCE_MS), VERDICT_UNPROVEN);
	assert_says("some firmware");
}

static void a_slow_guest_that_goes_on_is_waited_for(void **state)
{
	int64_t at = 0;

	(void)state;
	for (; at < PATIENCE_MS + 60000; at += 20000)
		assert_int_equal(serial(at, "[  OK  ] Started something.\r\n"), VERDICT_NONE);
	serial(at, "web01 login: ");
	assert_int_equal(tick(at), VERDICT_BOOTED);
	assert_says("after 6 min");
	end(state);
	begin(state);
	for (at = 0; at < PATIENCE_MS + 60000; at += 20000) { /* a silent one that reads */
		char bytes[24];

		snprintf(bytes, sizeof bytes, "%lld", (long long)at);
		assert_int_equal(hear(at, WITNESS_MOVED, bytes), VERDICT_NONE);
	}
	end(state);
	begin(state);
	for (at = 0; at < PATIENCE_MS; at += 20000) /* one that only shows the time */
		hear(at, WITNESS_MOVED, "1000000");
	assert_int_equal(tick(PATIENCE_MS), VERDICT_UNPROVEN);
	end(state);
	begin(state);
	for (at = 0; at < 3 * PATIENCE_MS; at += 20000)
		assert_int_equal(serial(at, "Restarting the same thing.\r\n"), VERDICT_NONE);
	assert_int_equal(tick(3 * PATIENCE_MS), VERDICT_UNPROVEN);
	assert_says("within 15 min");
}

static void late_proof_counts_at_the_deadline(void **state)
{
	(void)state;
	serial(PATIENCE_MS - 1, "web01 login: ");
	assert_int_equal(tick(PATIENCE_MS), VERDICT_BOOTED);
}

static void text_is_cleaned(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *out;
	} cases[] = {
	    {"a\r\nb\rc\r\r\nd", 10, "a\nb\nc\nd"},
	    {"\033[1;31mred\033[0m \033]0;title\007x\033(By", 30, "red xy"},
	    {"a\033[2;1Hb", 8, "a\nb"},
	    {"\0a\001\177b\0", 6, "ab"},
	    {"\xff\xc3\xa4\xe2\x82", 5, "?\xc3\xa4??"},
	    {"\xc2\x9b"
	     "31m",
	     5, "31m"},
	    {"x\033", 2, "x"},
	    {"\033]0;never ends\nnext", 19, "\nnext"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = {0};

		text_clean(cases[i].in, cases[i].n, 1000, &out);
		assert_string_equal(buf_str(&out), cases[i].out);
		buf_release(&out);
	}
	struct buf out = {0};
	text_clean("abc\xc3\xa4", 5, 4, &out);
	assert_string_equal(buf_str(&out), "abc");
	buf_release(&out);
}

static void hostile_text_is_bounded(void **state)
{
	size_t n = 10u << 20;
	char *blob = xmalloc(n);

	(void)state;
	memset(blob, 'a', n);
	judge_hear(&judge, WITNESS_SERIAL, blob, n, START + 1000);
	memset(blob, '\n', n);
	judge_hear(&judge, WITNESS_SERIAL, blob, n, START + 1000);
	for (size_t i = 0; i < n; i++)
		blob[i] = (char)(i * 2654435761u >> 13);
	judge_hear(&judge, WITNESS_SERIAL, blob, n, START + 1000);
	judge_hear(&judge, WITNESS_SCREEN, blob, n, START + 1000);
	judge_hear(&judge, WITNESS_SSH, blob, n, START + 1000);
	assert_true(judge.tail.len <= 2 * JUDGE_TAIL_BYTES);
	assert_true(judge.line.len <= 4096);
	assert_true(judge.screen.len <= JUDGE_TAIL_BYTES);
	free(blob);
	serial(2000, "\nweb01 login: ");
	assert_int_equal(tick(22000), VERDICT_BOOTED);
}

static void many_failed_units_fit(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		char line[100];

		snprintf(line, sizeof line, "[FAILED] Failed to start unit-%03d.service.\n", i);
		serial(1000, line);
	}
	serial(2000, "web01 login: ");
	assert_int_equal(tick(22000), VERDICT_DEGRADED);
	assert_says("100 failed: unit-000.service, ");
}

static void words_come_back(void **state)
{
	(void)state;
	for (enum verdict v = VERDICT_BOOTED; v <= VERDICT_NOT_TESTED; v++)
		assert_int_equal(verdict_from_word(verdict_word(v)), v);
	assert_int_equal(verdict_from_word("perhaps"), VERDICT_NONE);
	assert_int_equal(verdict_from_word(NULL), VERDICT_NONE);
}

static void resemblance_allows_a_tenth(void **state)
{
	(void)state;
	assert_true(text_resembles("xx no BOOTABLE device!", "No bootable device"));
	assert_true(text_resembles("Kerne1 panic -not syncing", "Kernel panic - not syncing"));
	assert_false(text_resembles("a bootable device", "No bootable device"));
	assert_false(text_resembles("", "No bootable device"));
}

static void draw(struct buf *ppm, unsigned x, unsigned y, unsigned width, unsigned height)
{
	static const char header[] = "P6\n# a text console\n720 400\n255\n";

	buf_clear(ppm);
	buf_add(ppm, header, sizeof header - 1);
	for (unsigned row = 0; row < 400; row++)
		for (unsigned column = 0; column < 720; column++)
			for (int c = 0; c < 3; c++)
				buf_add_byte(ppm, row >= y && row < y + height && column >= x &&
							  column < x + width
						      ? 170
						      : 0);
}

static void a_blinking_cursor_is_no_movement(void **state)
{
	struct buf before = {0}, now = {0};

	(void)state;
	draw(&before, 0, 0, 0, 0);
	assert_true(screen_moved(&now, &before)); /* no picture at all was before it */
	assert_false(screen_moved(&before, &before));
	draw(&now, 90, 366, 9, 2);
	assert_false(screen_moved(&before, &now));
	draw(&now, 90, 352, 90, 16);
	assert_true(screen_moved(&before, &now));
	assert_true(screen_moved(&now, &before));
	draw(&now, 90, 100, 9, 200);
	assert_true(screen_moved(&before, &now));
	buf_clear(&now);
	buf_add(&now, "P6 720 400 255\ncut", 18);
	assert_true(screen_moved(&before, &now));
	buf_release(&before);
	buf_release(&now);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_login_prompt_is_proof_after_settling),
	    TEST(words_about_logins_are_no_prompt),
	    TEST(reaching_a_target_is_proof),
	    TEST(banner_and_agent_are_proof),
	    TEST(failed_units_degrade),
	    TEST(a_unit_whose_name_was_cut_is_counted_once),
	    TEST(a_panic_decides_after_a_third_of_the_grace),
	    TEST(a_line_that_comes_in_pieces_is_quoted_whole),
	    TEST(a_panic_after_proof_still_counts),
	    TEST(qemus_panic_event_counts),
	    TEST(what_a_boot_loader_says_is_taken_back_by_a_kernel),
	    TEST(grub_rescue_says_why),
	    TEST(prompts_nobody_answers_are_stops),
	    TEST(screens_nobody_leaves_are_stops),
	    TEST(standing_still_in_the_boot_sector_is_a_stop),
	    TEST(whatever_moves_ends_standing_still),
	    TEST(a_quiet_system_is_no_stop),
	    TEST(standing_still_in_a_loader_is_a_stop),
	    TEST(emergency_mode_is_not_taken_back_by_kernel_lines),
	    TEST(proof_takes_evidence_back),
	    TEST(the_screen_is_read_with_wrong_letters),
	    TEST(what_the_screen_shows_no_more_is_taken_back),
	    TEST(three_resets_decide),
	    TEST(one_reset_is_forgiven),
	    TEST(power_off_and_crash),
	    TEST(silence_is_unproven),
	    TEST(a_slow_guest_that_goes_on_is_waited_for),
	    TEST(late_proof_counts_at_the_deadline),
	    TEST(text_is_cleaned),
	    TEST(hostile_text_is_bounded),
	    TEST(many_failed_units_fit),
	    TEST(a_blinking_cursor_is_no_movement),
	    TEST(words_come_back),
	    TEST(resemblance_allows_a_tenth),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
