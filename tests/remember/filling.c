/* Memory that is used, dropped, moved and copied while it is still on its way from the disk: judges itself. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define SIZE (16ul << 20)
#define BLOCKS 10

static unsigned char *blocks[BLOCKS];

static void say(const char *name, const char *format, ...)
{
	char text[256], path[64], done[64];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	snprintf(path, sizeof path, "/data/%s.new", name);
	snprintf(done, sizeof done, "/data/%s", name);
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (write(file, text, strlen(text)) < 0 || close(file) || rename(path, done))
		_exit(3);
}

#define CHECK(good) \
	do { \
		if (!(good)) { \
			say("wrong", "line %d: %s", __LINE__, #good); \
			_exit(1); \
		} \
	} while (0)

static unsigned char content(int block, size_t at)
{
	return (unsigned char)(block * 17 + at / PAGE * 3 + at % 251) | 1;
}

static void fill(int block)
{
	for (size_t at = 0; at < SIZE; at++)
		blocks[block][at] = content(block, at);
}

static size_t wrong(int block, const unsigned char *place, size_t from, size_t to)
{
	size_t count = 0;
	for (size_t at = from; at < to; at++)
		count += place[at] != content(block, at);
	return count;
}

static size_t dirty(const unsigned char *place, size_t from, size_t to)
{
	size_t count = 0;
	for (size_t at = from; at < to; at++)
		count += place[at] != 0;
	return count;
}

static unsigned char *map(void *place, size_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (place ? MAP_FIXED : 0);
	unsigned char *got = mmap(place, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	CHECK(got != MAP_FAILED);
	return got;
}

/* Drops pages, those that nobody used among them. */
static void *drop(void *nothing)
{
	unsigned char *place = blocks[1];
	for (size_t at = SIZE; at > 0; at -= 8 * PAGE)
		CHECK(!madvise(place + at - 8 * PAGE, 4 * PAGE, MADV_DONTNEED));
	usleep(300000);
	for (size_t at = 0; at < SIZE; at += 8 * PAGE) {
		CHECK(!dirty(place, at, at + 4 * PAGE));
		CHECK(!wrong(1, place, at + 4 * PAGE, at + 8 * PAGE));
	}
	return nothing;
}

static void *move(void *nothing)
{
	unsigned char *old = blocks[2], *to = map(0, SIZE + PAGE) + PAGE;
	CHECK(mremap(old + SIZE / 2, SIZE / 2, SIZE / 2, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	map(old + SIZE / 2, SIZE / 2);
	CHECK(!wrong(2, to - SIZE / 2, SIZE / 2, SIZE));
	CHECK(!dirty(old, SIZE / 2, SIZE));
	CHECK(!wrong(2, old, 0, SIZE / 2));
	return nothing;
}

static void *unmap(void *nothing)
{
	unsigned char *place = blocks[3];
	for (size_t at = SIZE; at > 0; at -= 64 * PAGE) {
		CHECK(!munmap(place + at - 64 * PAGE, 16 * PAGE));
		map(place + at - 64 * PAGE, 16 * PAGE);
	}
	usleep(300000);
	for (size_t at = 0; at < SIZE; at += 64 * PAGE) {
		CHECK(!dirty(place, at, at + 16 * PAGE));
		CHECK(!wrong(3, place, at + 16 * PAGE, at + 64 * PAGE));
	}
	return nothing;
}

/* Copies of memory that is not there yet, and copies of those. */
static void *copy(void *nothing)
{
	for (int count = 0; count < 3; count++) {
		int child = fork();
		if (!child) {
			CHECK(!madvise(blocks[4], SIZE / 2, MADV_DONTNEED));
			int below = fork();
			if (!below) {
				CHECK(!wrong(4, blocks[4], SIZE / 2, SIZE));
				memset(blocks[4], 9, SIZE);
				_exit(0);
			}
			int status;
			CHECK(waitpid(below, &status, 0) == below && !status);
			CHECK(!dirty(blocks[4], 0, SIZE / 2) && !wrong(4, blocks[4], SIZE / 2, SIZE));
			memset(blocks[5], 0, SIZE);
			_exit(0);
		}
		CHECK(child > 0);
		if (!count)
			CHECK(!wrong(5, blocks[5], 0, SIZE));
		int status;
		CHECK(waitpid(child, &status, 0) == child && !status);
	}
	CHECK(!wrong(4, blocks[4], 0, SIZE) && !wrong(5, blocks[5], 0, SIZE));
	return nothing;
}

static void *write_to(void *nothing)
{
	for (size_t at = SIZE; at > 0; at -= PAGE)
		blocks[6][at - PAGE] = 0;
	CHECK(!mprotect(blocks[6] + 5 * PAGE, 700 * PAGE, PROT_READ));
	for (size_t at = 0; at < SIZE; at += PAGE)
		CHECK(!blocks[6][at] && !wrong(6, blocks[6], at + 1, at + PAGE));
	return nothing;
}

/* By the kernel. */
static void *hand_on(void *nothing)
{
	int ends[2];
	static unsigned char got[PAGE];
	CHECK(!pipe(ends));
	for (size_t at = SIZE; at > 0; at -= 16 * PAGE) {
		CHECK(write(ends[1], blocks[7] + at - PAGE, PAGE) == PAGE);
		CHECK(read(ends[0], got, PAGE) == PAGE);
		CHECK(!memcmp(got, blocks[7] + at - PAGE, PAGE));
	}
	CHECK(!wrong(7, blocks[7], 0, SIZE));
	return nothing;
}

static void *beat(void *nothing)
{
	for (long count = 0;; count++) {
		say("beat", "%ld", count);
		usleep(5000);
	}
	return nothing;
}

/* Looks at all of it, again and again. */
static void *look(void *nothing)
{
	for (;;)
		for (int block = 8; block < BLOCKS; block++)
			CHECK(!wrong(block, blocks[block], 0, SIZE));
	return nothing;
}

static void await(const char *path)
{
	while (access(path, F_OK))
		usleep(500);
}

int main(int count, char **arguments)
{
	void *(*acts[])(void *) = { drop, move, unmap, copy, write_to, hand_on };
	pthread_t threads[6], other;
	for (int block = 0; block < BLOCKS; block++) {
		/* Apart from everything else. */
		blocks[block] = mmap(0, SIZE + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + PAGE;
		CHECK(!mprotect(blocks[block], SIZE, PROT_READ | PROT_WRITE));
		fill(block);
	}
	if (count > 1 && !strcmp(arguments[1], "beat"))
		CHECK(!pthread_create(&other, 0, beat, 0));
	say("ready", "");
	await("/data/go");
	CHECK(!pthread_create(&other, 0, look, 0));
	for (int act = 0; act < 6; act++)
		CHECK(!pthread_create(&threads[act], 0, acts[act], 0));
	for (int act = 0; act < 6; act++)
		CHECK(!pthread_join(threads[act], 0));
	CHECK(!wrong(0, blocks[0], 0, SIZE));
	say("verdict", "ok");
	for (;;)
		pause();
}
