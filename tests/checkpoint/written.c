/* Memory that is used while it is copied: see programs.c. */
#include "programs.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, BLOCK = 80, BLOCKS = 120, PAGES = BLOCK * BLOCKS };

static char *memory;
/* What each page is full of, to compare with. */
static uint32_t model[PAGES];
static volatile int done, rounds;

static uint32_t random_below(uint32_t limit)
{
	static uint64_t state = 88172645463325252ull;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 20) % limit;
}

static void fill(int page, uint32_t value)
{
	uint32_t *words = (uint32_t *)(memory + (size_t)page * PAGE);
	for (int at = 0; at < PAGE / 4; at++)
		words[at] = value;
	model[page] = value;
}

static int is_right(int page)
{
	uint32_t *words = (uint32_t *)(memory + (size_t)page * PAGE);
	for (int at = 0; at < PAGE / 4; at++)
		if (words[at] != model[page])
			return 0;
	return 1;
}

static void move(void *from, void *to)
{
	CHECK(mremap(from, BLOCK * PAGE, BLOCK * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
}

/* Pages come to lie where others were that had been copied. */
static void swap(int one, int other)
{
	static uint32_t spare[BLOCK];
	if (one == other)
		return;
	char *a = memory + (size_t)one * BLOCK * PAGE, *b = memory + (size_t)other * BLOCK * PAGE;
	char *between = mmap(0, BLOCK * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(between != MAP_FAILED);
	move(a, between);
	move(b, a);
	move(between, b);
	memcpy(spare, model + one * BLOCK, sizeof spare);
	memcpy(model + one * BLOCK, model + other * BLOCK, sizeof spare);
	memcpy(model + other * BLOCK, spare, sizeof spare);
}

static void forget(int first, int count, int anew)
{
	char *start = memory + (size_t)first * PAGE;
	size_t length = (size_t)count * PAGE;
	if (anew)
		CHECK(mmap(start, length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == start);
	else
		CHECK(!madvise(start, length, MADV_DONTNEED));
	memset(model + first, 0, sizeof *model * (size_t)count);
}

static void with_a_child(void)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		for (int count = 0; count < 50; count++) {
			int page = (int)random_below(PAGES);
			if (!is_right(page))
				_exit(1);
			fill(page, 1);
		}
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void *work(void *nothing)
{
	for (; !done; rounds++) {
		uint32_t what = random_below(1000);
		if (what < 900)
			fill((int)random_below(PAGES), random_below(20) ? random_below(1u << 31) : 0);
		else if (what < 980)
			forget((int)random_below(PAGES - 8), 8, 0);
		else if (what < 985)
			forget((int)random_below(BLOCKS) * BLOCK, BLOCK, 1);
		else if (what < 995)
			swap((int)random_below(BLOCKS), (int)random_below(BLOCKS / 2) * 2 + 1);
		else
			with_a_child();
		int page = (int)random_below(PAGES);
		if (!is_right(page))
			verdict("page %d is wrong in round %d", page, rounds);
		if (rounds % 64 == 0)
			usleep(500);
	}
	return nothing;
}

/* It writes, gives back, moves and forks all the while. */
void written(void)
{
	memory = mmap(0, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int page = 0; page < PAGES; page++)
		fill(page, (uint32_t)page + 1);
	pthread_t thread;
	CHECK(!pthread_create(&thread, NULL, work, NULL));
	while (rounds < 1000)
		usleep(1000);
	stage();
	int before = rounds;
	while (rounds < before + 1000)
		usleep(1000);
	done = 1;
	CHECK(!pthread_join(thread, NULL));
	for (int page = 0; page < PAGES; page++)
		if (!is_right(page))
			verdict("page %d is wrong after %d rounds", page, rounds);
}

/* 32 MiB of it, of which half are zero; nothing is written any more. */
void settled(void)
{
	size_t size = 32 << 20;
	char *all = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(all, 0, size);
	for (size_t at = 0; at < size; at += 2 * PAGE)
		memset(all + at, 1 + (int)(at >> 13 & 63), PAGE);
	stage();
	for (size_t at = 0; at < size; at++)
		CHECK(all[at] == (at & PAGE ? 0 : 1 + (char)(at >> 13 & 63)));
}
