#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What becomes of an image: every export format, converted back and compared; a full file system told
# in a sentence; an overlay that outlives its server, committed into an image of its own; where images
# differ; and an image that runs at once and becomes local, whatever is killed meanwhile.
. "$(dirname "$0")/lib.sh"
need_root
guests=$build/guests
"$source_root/tools/guest" --name web01 "$guests/web01.qcow2" > "$scratch/guest.log" 2>&1 || { cat "$scratch/guest.log"; fail "the guest could not be built"; }
mkdir -p "$scratch/libvirt"
at_exit '"$source_root/tools/libvirtd-by-hand" down "$scratch/libvirt"'
LIBVIRT_DEFAULT_URI=$("$source_root/tools/libvirtd-by-hand" up --private "$scratch/libvirt") || skip "libvirtd cannot be started here"
export LIBVIRT_DEFAULT_URI
cp --sparse=always "$guests/web01.qcow2" "$scratch/web01.qcow2"
# The source stays off: it is read as a file.
"$source_root/tools/guest-domain" web01 "$scratch/web01.qcow2" "$scratch" > "$scratch/domain.log" 2>&1 || { cat "$scratch/domain.log"; fail "the domain"; }
virsh -q destroy web01
start_service "libvirt:$LIBVIRT_DEFAULT_URI" --slots 1
import_catalog
server=$(server_named web01)
job=$(sms create-replication-job --server-id "$server" --frequency 24 --seed-replication-time "$(date +%s)" --output text)
godwit job set "$job" --boot-test off > /dev/null
wait_run "$job" 600 COMPLETED
image=$(run_field "$job" amiId)
raw=$scratch/source.raw
qemu-img convert -O raw "$scratch/web01.qcow2" "$raw"
says() { # STATUS TEXT ARGS…: godwit ARGS ends so and says TEXT in one line
	local status=$1 text=$2 out got=0
	shift 2
	out=$(godwit "$@" 2>&1 > /dev/null) || got=$?
	[ $got = "$status" ] || fail "godwit $*: exit $got instead of $status: $out"
	grep -qF -- "$text" <<< "$out" || fail "godwit $*: '$text' is not in: $out"
	[ "$(wc -l <<< "$out")" = 1 ] || fail "godwit $*: more than a sentence: $out"
	echo "  $out"
}

echo "exports"
for format in raw qcow2 vmdk vhd vhdx; do
	driver=$format
	[ $format != vhd ] || driver=vpc
	godwit image export "$image" --format $format "$scratch/out"
	[ "$(qemu-img info --output=json "$scratch/out" | jq -r .format)" = $driver ] || fail "this is no $format"
	rm -f "$scratch/back"
	qemu-img convert -f $driver -O raw "$scratch/out" "$scratch/back"
	[ "$(stat -c %s "$scratch/back")" = "$(stat -c %s "$raw")" ] || fail "the export to $format has another size"
	qemu-img compare -q -f raw -F raw "$raw" "$scratch/back" || fail "the export to $format is another disk"
	[ "$(du -k "$scratch/out" | cut -f1)" -lt $((1200 * 1024)) ] || fail "the export to $format is not sparse"
	rm -f "$scratch/out" "$scratch/back"
done
mkdir "$scratch/small"
mount -t tmpfs -o size=64m tmpfs "$scratch/small"
at_exit 'umount "$scratch/small"'
for format in raw vmdk; do
	says 1 "its file system is full" image export "$image" --format $format "$scratch/small/out"
	[ -z "$(ls "$scratch/small")" ] || fail "a failed export leaves $(ls "$scratch/small")"
done

echo "an overlay"
over=$scratch/over.qcow2
sock=$scratch/over.sock
serve() { # starts `image serve --overlay`, sets served
	godwit image serve "$image" --overlay "$over" --socket "$sock" > "$scratch/serve.out" 2>&1 &
	served=$!
	answers() { nbdinfo --size "nbd+unix:///disk0?socket=$sock" > /dev/null 2>&1; }
	wait_for 30 answers || { cat "$scratch/serve.out"; fail "the overlay is not served"; }
}
write() { qemu-io -f raw -c "write -P $1 $2 $3" -c flush "nbd+unix:///disk0?socket=$sock" > "$scratch/io.out" 2>&1; }
serve
write 0x11 1M 3M || { cat "$scratch/io.out"; fail "the overlay cannot be written"; }
write 0x22 2G 100k
says 1 "is in use" image commit "$over"
echo "  kill -9 of the servers, and of a client in the middle of writing"
(while write 0x33 64M 4M; do :; done) &
writer=$!
sleep 1
kill -9 $served
wait $served 2> /dev/null || :
wait $writer || :
gone() { ! nbdinfo --size "nbd+unix:///disk0?socket=$sock" > /dev/null 2>&1; }
wait_for 10 gone || fail "the servers outlive the one who started them"
serve
cp --sparse=always "$raw" "$scratch/expected.raw"
qemu-io -f raw -c "write -P 0x11 1M 3M" -c "write -P 0x22 2G 100k" -c "write -P 0x33 64M 4M" "$scratch/expected.raw" > /dev/null
write 0x33 64M 4M
qemu-img compare -f raw -F raw "$scratch/expected.raw" "nbd+unix:///disk0?socket=$sock" || fail "what was flushed is lost"
kill $served
wait $served || fail "serve did not end well"
made=$(godwit image commit "$over" --json | jq -r .imageId)
godwit image show "$made" --json | jq -e --arg i "$image" --arg j "$job" '.overlayOf == $i and .replicationJobId == $j and .verdict == "not tested"' > /dev/null || { godwit image show "$made" --json; fail "image $made is not described as an overlay of $image"; }
godwit image export "$made" --format raw "$scratch/out" > /dev/null
qemu-img compare -q -f raw -F raw "$scratch/out" "$scratch/expected.raw" || fail "the committed image is another disk"
rm -f "$scratch/out" "$scratch/expected.raw"
godwit image show "$made" --json | jq -r '"  committed \(.imageId): new \(.bytesNew), stored \(.bytesStored) bytes"'
[ "$(godwit image show "$made" --json | jq .bytesNew)" -lt 12000000 ] || fail "the commit sent more than was written"
godwit image verify "$made" > /dev/null || fail "the committed image is not whole"
godwit image diff "$image" "$made" --json | jq -e '.bytesChanged == 7442432 and
	.disks[0].extents == [{offset: 1048576, length: 3145728}, {offset: 67108864, length: 4194304}, {offset: 2147483648, length: 102400}]' > /dev/null ||
	{ godwit image diff "$image" "$made"; fail "the difference is another"; }
[ "$(godwit image diff "$image" "$image" --json | jq .bytesChanged)" = 0 ] || fail "an image differs from itself"
says 1 "no overlay made by" image commit "$scratch/web01.qcow2"
says 1 "is over disk 0 of $image" image serve "$made" --overlay "$over" --socket "$sock"
godwit image commit "$over" --drop
[ ! -e "$over" ] || fail "a dropped overlay is still there"

echo "an image runs"
domstate() { virsh -q domstate m1 2> /dev/null; }
row() { godwit image runs --json | jq -r ".[] | select(.name == \"m1\") | .$1"; }
nbdkits() { pgrep -f "nbdkit .*$state/machines/m1/" || :; }
says 2 "needs a value" image run "$image" --memory
says 2 "--memory" image run "$image" --memory 1
says 1 "no name of a machine" image run "$image" --name ../m
says 1 "there is no machine 'm1'" image stop m1
at_exit 'godwit image stop m1 --remove > /dev/null 2>&1'
godwit image run "$image" --name m1 --rate 8M # there is to be time for what follows
[ "$(domstate)" = running ] || fail "the machine is $(domstate)"
virsh -q domiflist m1 | grep -q . && fail "a machine without a network has a card"
says 1 "runs image $image" image run "$made" --name m1
[ "$(row local)" = false ] && [ "$(row kept)" = true ] || fail "at first: $(godwit image runs --json)"
echo "  kill -9 of the keeper"
pulls() { [ "$(row bytesLocal)" -gt 0 ]; }
wait_for 60 pulls || fail "its disks do not become local"
kill -9 "$(cat "$state/machines/m1/keeper.pid")" # its nbdkit listens no more
unserved() { [ -z "$(nbdkits)" ]; }
[ "$(row kept)" = false ] || fail "a killed keeper is said to live"
godwit image run "$image" --name m1 --json | jq -e '.resumed and .state != "gone"' > /dev/null || fail "it does not go on"
[ "$(row kept)" = true ] || fail "it is not served again"
echo "  kill -9 of nbdkit, of QEMU, and of 'run'"
kill -9 $(nbdkits)
served_again() { [ -n "$(nbdkits)" ]; }
wait_for 20 served_again || fail "the keeper does not serve again"
kill -9 "$(pgrep -f "qemu-system.*$state/machines/m1/")"
is_off() { [ "$(domstate)" = "shut off" ]; }
wait_for 20 is_off || fail "libvirt says that it is $(domstate)"
godwit image run "$image" --name m1 --wait > "$scratch/run.out" 2>&1 &
run=$!
wait_for 60 pulls || fail "its disks do not become local: $(cat "$scratch/run.out")"
kill -9 $run
wait $run 2> /dev/null || :
timeout 600 godwit image run "$image" --name m1 --rate 0 --wait || fail "its disks did not become local"
[ "$(row local)" = true ] && [ "$(row state)" = running ] || fail "it is not local: $(godwit image runs --json)"
wait_for 20 unserved || fail "the image is still served"
qemu-img info -U --output=json "$state/machines/m1/disk0.qcow2" | jq -e 'has("backing-filename") | not' > /dev/null || fail "its disk still has a backing file"
mv "$state/store" "$state/store.away" # it needs no store
virsh -q destroy m1
virsh -q start m1
[ "$(domstate)" = running ] || fail "it does not start without the store"
virsh -q destroy m1
mv "$state/store.away" "$state/store"
echo "  its files are the source's"
qemu-img convert -O raw "$state/machines/m1/disk0.qcow2" "$scratch/machine.raw"
mkdir -p "$scratch/one" "$scratch/two"
for pair in "source.raw one" "machine.raw two"; do
	set -- $pair
	loop=$(losetup -f --show -o 1048576 "$scratch/$1")
	at_exit "umount '$scratch/$2'; losetup -d $loop"
	mount "$loop" "$scratch/$2" # the journal is replayed
done
diff -r --no-dereference "$scratch/one/usr" "$scratch/two/usr" || fail "files of the machine differ from the source's"
[ "$(find "$scratch/two/usr" -type f | wc -l)" -gt 2000 ] || fail "there are hardly any files in it"
godwit image stop m1 --remove
[ -z "$(ls "$state/machines")" ] || fail "something is left of the machine"
virsh -q dominfo m1 > /dev/null 2>&1 && fail "the domain is left"
echo "  not beside its source"
printf '<network><name>open</name><forward mode="nat"/><bridge name="gwo0"/><ip address="192.168.231.1" netmask="255.255.255.0"/></network>' > "$scratch/open.xml"
if virsh -q net-define "$scratch/open.xml" > "$scratch/net.out" 2>&1; then
	virsh -q start web01
	import_catalog
	says 1 "was running when the catalog was imported" image run "$image" --name m2 --network open
	virsh -q destroy web01
	[ ! -e "$state/machines/m2" ] || fail "a refused machine left something"
	virsh -q net-undefine open
else
	echo "  (no networks here: $(cat "$scratch/net.out"))"
fi
says 1 "cannot find the network" image run "$image" --name m2 --network nowhere
echo "an image can be used in every way"
