/* Native asynchronous I/O: a ring with events that nobody took yet, at the address that it had. */
#include "programs.h"

#include <linux/aio_abi.h>
#include <sys/syscall.h>

static long submit(aio_context_t ring, int fd, int write, void *buffer, size_t length, off_t at, uint64_t data)
{
	struct iocb request = {
		.aio_data = data,
		.aio_lio_opcode = write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = fd,
		.aio_buf = (uintptr_t)buffer,
		.aio_nbytes = length,
		.aio_offset = at,
	}, *all[] = { &request };
	return syscall(SYS_io_submit, ring, 1, all);
}

static long events(aio_context_t ring, long least, long most, struct io_event *into, int seconds)
{
	struct timespec limit = { seconds, 0 };
	return syscall(SYS_io_getevents, ring, least, most, into, &limit);
}

void aio(void)
{
	static char buffer[4096] __attribute__((aligned(4096))), read_back[4096] __attribute__((aligned(4096)));
	struct io_event event[32];
	aio_context_t ring = 0, other = 0;
	CHECK(!syscall(SYS_io_setup, 128, &ring) && !syscall(SYS_io_setup, 3, &other));
	int fd = open("/data/file", O_CREAT | O_RDWR | O_DIRECT, 0644);
	CHECK(fd >= 0);
	/* So often that the ring has gone around. */
	for (int round = 0; round < 500; round++) {
		memset(buffer, 'a' + round % 26, sizeof buffer);
		CHECK(submit(ring, fd, 1, buffer, sizeof buffer, round % 4 * 4096, round) == 1);
		CHECK(events(ring, 1, 1, event, 10) == 1 && event->data == (uint64_t)round && event->res == 4096);
	}
	for (int round = 0; round < 20; round++)
		CHECK(submit(ring, fd, 0, read_back, 1024, 0, 1000 + round) == 1);
	/* Under way when everything stops, or done. */
	memset(buffer, 'z', sizeof buffer);
	CHECK(submit(ring, fd, 1, buffer, sizeof buffer, 4 * 4096, 7777) == 1);
	aio_context_t before = ring;
	stage();
	CHECK(ring == before);
	CHECK(events(ring, 21, 32, event, 10) == 21);
	int written = 0;
	for (int round = 0, reads = 0; round < 21; round++) {
		if (event[round].data == 7777 && event[round].res == 4096)
			written = 1;
		else
			CHECK(event[round].data == (uint64_t)1000 + reads++ && event[round].res == 1024);
	}
	CHECK(written && events(ring, 0, 1, event, 0) == 0);
	CHECK(submit(ring, fd, 0, read_back, 4096, 4 * 4096, 1) == 1);
	CHECK(events(ring, 1, 2, event, 10) == 1 && !memcmp(buffer, read_back, 4096));
	for (int round = 0; round < 1000; round++)
		CHECK(submit(other, fd, 0, read_back, 512, 0, round) == 1 &&
		      events(other, 1, 2, event, 10) == 1 && event->data == (uint64_t)round);
	CHECK(!syscall(SYS_io_destroy, ring) && !syscall(SYS_io_destroy, other));
}
