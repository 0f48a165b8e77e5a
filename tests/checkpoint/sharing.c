/* Shared memory that is used while it is copied: see programs.c. */
#include "programs.h"

#include <pthread.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

enum { PAGE = 4096, PAGES = 1024, BUSY = 8 };

static size_t random_below(size_t limit)
{
	static uint64_t state = 88172645463325252ull;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (size_t)(state >> 20) % limit;
}

static char *share(size_t size)
{
	char *all = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(all != MAP_FAILED);
	return all;
}

/* 64 MiB between three processes, of which two write to eight pages each, all the while. */
void shared_settled(void)
{
	size_t size = 64 << 20;
	char *all = share(size);
	for (size_t at = 0; at < size; at += sizeof at)
		*(size_t *)(all + at) = at + 1;
	pid_t children[2];
	for (int child = 0; child < 2; child++) {
		children[child] = fork();
		for (size_t round = 1; !children[child]; round++) {
			char *own = all + (size_t)(1 + child) * (16 << 20);
			for (size_t page = 0; page < BUSY; page++)
				memset(own + page * 3 * PAGE, (char)round, PAGE);
			usleep(100);
		}
		CHECK(children[child] > 0);
	}
	stage();
	for (int child = 0; child < 2; child++)
		CHECK(!kill(children[child], SIGKILL) && waitpid(children[child], 0, 0) == children[child]);
	for (size_t at = 0; at < size; at += sizeof at) {
		size_t page = at / PAGE % 4096;
		int busy = (at >> 24 == 1 || at >> 24 == 2) && page % 3 == 0 && page / 3 < BUSY;
		CHECK(busy || *(size_t *)(all + at) == at + 1);
	}
}

/* What each page of a kind of memory is full of, or is not there for. */
struct memory {
	char *place;
	int fd;
	size_t pages;
	uint32_t model[PAGES];
};

static struct memory anonymous, segment, memfd, file;

static void fill(struct memory *one, size_t page, uint32_t value)
{
	uint32_t words[PAGE / 4];
	for (size_t at = 0; at < PAGE / 4; at++)
		words[at] = value;
	if (one->place)
		memcpy(one->place + page * PAGE, words, PAGE);
	else
		CHECK(pwrite(one->fd, words, PAGE, (off_t)(page * PAGE)) == PAGE);
	one->model[page] = value;
}

static int is_right(struct memory *one, size_t page)
{
	uint32_t words[PAGE / 4];
	if (one->place)
		memcpy(words, one->place + page * PAGE, PAGE);
	else if (pread(one->fd, words, PAGE, (off_t)(page * PAGE)) != PAGE)
		return 0;
	for (size_t at = 0; at < PAGE / 4; at++)
		if (words[at] != one->model[page])
			return 0;
	return 1;
}

static int all_right(struct memory *one)
{
	for (size_t page = 0; page < one->pages; page++)
		if (!is_right(one, page))
			return 0;
	struct stat about;
	return one->place || (!fstat(one->fd, &about) && about.st_size == (off_t)(one->pages * PAGE));
}

/* It is gone again before anybody could look at it. */
static void by_a_child(size_t page, uint32_t value)
{
	pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		fill(&anonymous, page, value);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	anonymous.model[page] = value;
}

static void resize(struct memory *one)
{
	size_t pages = PAGES / 2 + random_below(PAGES / 2);
	CHECK(!ftruncate(one->fd, (off_t)(pages * PAGE)));
	for (size_t page = one->pages; page < pages; page++)
		one->model[page] = 0;
	one->pages = pages;
}

static void punch(struct memory *one)
{
	size_t page = random_below(one->pages - 100);
	int how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	CHECK(!fallocate(one->fd, how, (off_t)(page * PAGE), 100 * PAGE));
	memset(one->model + page, 0, 100 * sizeof *one->model);
}

static volatile int done, rounds;

static void *work(void *nothing)
{
	struct memory *all[] = { &anonymous, &segment, &memfd, &file };
	for (; !done; rounds++) {
		struct memory *one = all[random_below(4)];
		size_t what = random_below(100);
		if (what == 0)
			by_a_child(random_below(PAGES), 1 + (uint32_t)random_below(1u << 31));
		else if (what == 1)
			resize(random_below(2) ? &memfd : &file);
		else if (what == 2)
			punch(random_below(2) ? &memfd : &file);
		else
			fill(one, random_below(one->pages), random_below(20) ? 1 + (uint32_t)random_below(1u << 31) : 0);
		size_t page = random_below(one->pages);
		if (!is_right(one, page))
			verdict("page %zu of %d is wrong in round %d", page, one->fd, rounds);
		if (rounds % 16 == 0)
			usleep(500);
	}
	return nothing;
}

/* Of four kinds, each of a size that is worth a copy beforehand. */
void shared_written(void)
{
	anonymous.fd = segment.fd = -1;
	anonymous.place = share(PAGES * PAGE);
	int id = shmget(IPC_PRIVATE, PAGES * PAGE, IPC_CREAT | 0600);
	segment.place = shmat(id, 0, 0);
	CHECK(id >= 0 && segment.place != (char *)-1);
	memfd.fd = memfd_create("written", 0);
	file.fd = open("/tmp/written", O_RDWR | O_CREAT | O_EXCL, 0600);
	CHECK(memfd.fd >= 0 && file.fd >= 0);
	struct memory *all[] = { &anonymous, &segment, &memfd, &file };
	for (size_t kind = 0; kind < 4; kind++) {
		all[kind]->pages = PAGES;
		for (size_t page = 0; page < PAGES; page++)
			fill(all[kind], page, (uint32_t)(kind * PAGES + page + 1));
	}
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
	for (size_t kind = 0; kind < 4; kind++)
		if (!all_right(all[kind]))
			verdict("memory %zu is wrong after %d rounds", kind, rounds);
}
