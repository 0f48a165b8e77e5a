/* Memory of several processes, and of allocators: see programs.c. */
#include "programs.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* Begins and ends within what one table of pages maps. */
#define PLACE ((unsigned char *)0x1234567000)
#define SIZE ((7ul << 20) + 5 * 4096)
#define PAGE 4096ul

struct own {
	unsigned char seed, *barred, *wiped, *constant, *given;
};

static unsigned char content(unsigned char seed, size_t at)
{
	return (unsigned char)(seed + at / PAGE * 3 + at % 251) | 1;
}

static void fill(unsigned char *place, size_t size, unsigned char seed)
{
	for (size_t at = 0; at < size; at++)
		place[at] = content(seed, at);
}

/* How many bytes are not as they were. */
static size_t wrong(const unsigned char *place, size_t size, unsigned char seed)
{
	size_t count = 0;
	for (size_t at = 0; at < size; at++)
		count += place[at] != content(seed, at);
	return count;
}

static unsigned char *map(void *place, size_t size)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (place ? MAP_FIXED : 0);
	unsigned char *got = mmap(place, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	CHECK(got != MAP_FAILED);
	return got;
}

static void set_up(struct own *own, unsigned char seed)
{
	own->seed = seed;
	munmap(PLACE, SIZE);
	fill(map(PLACE, SIZE), SIZE, seed);
	own->barred = map(0, 3 * PAGE);
	fill(own->barred, 3 * PAGE, seed + 1);
	CHECK(!madvise(own->barred, 3 * PAGE, MADV_DONTFORK));
	own->wiped = map(0, 2 * PAGE);
	fill(own->wiped, 2 * PAGE, seed + 2);
	CHECK(!madvise(own->wiped, 2 * PAGE, MADV_WIPEONFORK));
	own->constant = map(0, 5 * PAGE);
	fill(own->constant, 5 * PAGE, seed + 3);
	CHECK(!mprotect(own->constant, 5 * PAGE, PROT_READ));
	own->given = map(0, 4ul << 20);
	fill(own->given, 4ul << 20, seed + 4);
}

/* 0, or what is wrong. */
static int judge(struct own *own)
{
	size_t given = 4ul << 20;
	if (wrong(PLACE, SIZE, own->seed) || wrong(own->barred, 3 * PAGE, own->seed + 1))
		return 10;
	if (wrong(own->wiped, 2 * PAGE, own->seed + 2) || wrong(own->constant, 5 * PAGE, own->seed + 3))
		return 11;
	if (wrong(own->given, given, own->seed + 4))
		return 12;
	/* It is all its own: what one writes no other sees. */
	fill(PLACE, SIZE, own->seed + 50);
	usleep(20000);
	if (wrong(PLACE, SIZE, own->seed + 50))
		return 13;
	if (madvise(own->given, given / 2, MADV_DONTNEED))
		return 14;
	for (size_t at = 0; at < given / 2; at++)
		if (own->given[at])
			return 15;
	/* The attributes are there too. */
	if (!fork()) {
		unsigned char seen;
		int barred = mincore(own->barred, PAGE, &seen) < 0 && errno == ENOMEM;
		_exit(barred && own->wiped[0] == 0 && !wrong(PLACE, SIZE, own->seed + 50) ? 0 : 1);
	}
	int status;
	if (wait(&status) < 0 || status)
		return 16;
	/* It can grow, and where it was is free. */
	unsigned char *grown = mremap(PLACE, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
	if (grown == MAP_FAILED || wrong(grown, SIZE, own->seed + 50) || grown[2 * SIZE - 1])
		return 17;
	return munmap(grown, 2 * SIZE) ? 18 : 0;
}

static void *watch(void *argument)
{
	struct own *own = argument;
	await("/data/go");
	return own->barred[0] == content(own->seed + 1, 0) ? argument : 0;
}

/* Generations below generations, each with a thread and memory at the same addresses. */
static void generation(unsigned char seed, int below, int announce)
{
	struct own own;
	set_up(&own, seed);
	int children[2] = { 0, 0 };
	for (int at = 0; at < below && at < 2; at++) {
		children[at] = fork();
		if (!children[at])
			generation((unsigned char)(seed * 2 + at + 1), below - 1, announce);
	}
	pthread_t thread;
	CHECK(!pthread_create(&thread, 0, watch, &own));
	if (seed != 1) {
		CHECK(write(announce, "x", 1) == 1);
		await("/data/go");
	} else {
		stage();
	}
	void *seen;
	CHECK(!pthread_join(thread, &seen));
	int bad = seen ? 0 : 20;
	for (int at = 0; at < 2; at++) {
		int status;
		if (!children[at])
			continue;
		if (waitpid(children[at], &status, 0) < 0 || !WIFEXITED(status))
			bad = 21;
		else if (WEXITSTATUS(status))
			bad = WEXITSTATUS(status);
	}
	if (!bad)
		bad = judge(&own);
	if (seed != 1)
		_exit(bad);
	if (bad)
		verdict("a process found fault %d", bad);
}

void generations(void)
{
	int ends[2];
	CHECK(!pipe(ends));
	/* 2 below 1, below it 5 and 6, and one below each of these. */
	int first = fork();
	if (!first) {
		setsid();
		generation(2, 2, ends[1]);
	}
	for (int count = 0; count < 5; count++) {
		char byte;
		CHECK(read(ends[0], &byte, 1) == 1);
	}
	generation(1, 0, ends[1]);
	int status;
	CHECK(waitpid(first, &status, 0) == first);
	if (status)
		verdict("a process found fault %d", WEXITSTATUS(status));
}

/* What the kernel may drop at any time, as the state of random numbers: nobody else goes on with it. */
void droppable(void)
{
	enum { droppable = 8 };
	unsigned char *state = mmap(0, PAGE, PROT_READ | PROT_WRITE, droppable | MAP_ANONYMOUS, -1, 0);
	if (state == MAP_FAILED) {
		/* Before Linux 6.11. */
		stage();
		verdict("unknown");
	}
	state[7] = 42;
	stage();
	verdict(state[7] == 42 ? "kept" : state[7] ? "wrong" : "fresh");
}

/* What an allocator gave back to the kernel and hands out again is zero: to be run with one that counts on that. */
void heap(void)
{
	size_t size = 64ul << 20, dirty = 0;
	unsigned char *first = malloc(size);
	CHECK(first);
	fill(first, size, 9);
	stage();
	CHECK(!wrong(first, size, 9));
	free(first);
	unsigned char *second = calloc(1, size);
	CHECK(second);
	for (size_t at = 0; at < size; at++)
		dirty += second[at] != 0;
	if (dirty)
		verdict("%zu of %zu bytes of calloc are not zero", dirty, size);
}
