/* Memory of all kinds of which a little is changed between checkpoints: see programs.c. */
#include "programs.h"
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#define PAGE 4096ul
#define KINDS 5
#define ZEROED(generation) (50 * (generation))

/* Says what page it is, of what, and since when. */
struct tag {
	char magic[8];
	uint64_t kind, page, generation;
};

static const size_t sizes[KINDS] = { 4096, 1024, 256, 256, 256 };
/* Of how many pages one is changed, the numbers of the remainders being those of the generations. */
static const size_t shares[KINDS] = { 97, 31, 17, 19, 23 };
static char *places[KINDS];
static size_t every = 97;

static void put(char *place, uint64_t kind, uint64_t page, uint64_t generation)
{
	/* In place: one on the stack may lie at the beginning of a page, and be counted. */
	struct tag *tag = (struct tag *)place;
	memcpy(tag->magic, "WHARFTAG", sizeof tag->magic);
	tag->kind = kind;
	tag->page = page;
	tag->generation = generation;
}

static size_t share(size_t kind)
{
	return kind ? shares[kind] : every;
}

static void revise(uint64_t generation, size_t kinds)
{
	for (size_t kind = 0; kind < kinds; kind++)
		for (size_t page = 0; page < sizes[kind]; page++)
			if (page % share(kind) == generation)
				put(places[kind] + page * PAGE, kind, page, generation);
	memset(places[0] + ZEROED(generation) * PAGE, 0, PAGE);
}

static void wait_and_revise(size_t kinds, const char *who)
{
	for (uint64_t generation = 1; generation <= 2; generation++) {
		char name[64];
		snprintf(name, sizeof name, "/data/change-%d", (int)generation);
		await(name);
		revise(generation, kinds);
		snprintf(name, sizeof name, "/data/changed-%d-%s", (int)generation, who);
		close(open(name, O_CREAT | O_WRONLY, 0666));
	}
}

static int is_right(size_t kinds)
{
	static const char zeros[PAGE];
	for (size_t kind = 0; kind < kinds; kind++)
		for (size_t page = 0; page < sizes[kind]; page++) {
			const char *place = places[kind] + page * PAGE;
			if (!kind && (page == ZEROED(1) || page == ZEROED(2))) {
				if (memcmp(place, zeros, PAGE))
					return 0;
				continue;
			}
			size_t rest = page % share(kind);
			struct tag tag = { "WHARFTAG", kind, page, rest == 1 || rest == 2 ? rest : 0 };
			if (memcmp(place, &tag, sizeof tag))
				return 0;
		}
	return 1;
}

void revised(void)
{
	int memory = memfd_create("memory", 0), file = open("/tmp/file", O_CREAT | O_RDWR, 0600);
	int segment = shmget(IPC_PRIVATE, sizes[3] * PAGE, 0600);
	CHECK(memory >= 0 && file >= 0 && segment >= 0);
	CHECK(!ftruncate(memory, (off_t)(sizes[2] * PAGE)) && !ftruncate(file, (off_t)(sizes[4] * PAGE)));
	int both = PROT_READ | PROT_WRITE;
	places[0] = mmap(0, sizes[0] * PAGE, both, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	places[1] = mmap(0, sizes[1] * PAGE, both, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	places[2] = mmap(0, sizes[2] * PAGE, both, MAP_SHARED, memory, 0);
	places[3] = shmat(segment, NULL, 0);
	places[4] = mmap(0, sizes[4] * PAGE, both, MAP_SHARED, file, 0);
	for (size_t kind = 0; kind < KINDS; kind++) {
		CHECK(places[kind] != MAP_FAILED);
		for (size_t page = 0; page < sizes[kind]; page++)
			put(places[kind] + page * PAGE, kind, page, 0);
	}
	pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		every = 89;
		for (size_t page = 0; page < sizes[0]; page++)
			put(places[0] + page * PAGE, 0, page, 0);
		close(open("/data/child", O_CREAT | O_WRONLY, 0666));
		wait_and_revise(1, "child");
		await("/data/go");
		_exit(is_right(1) ? 0 : 1);
	}
	await("/data/child");
	ready();
	wait_and_revise(KINDS, "parent");
	await("/data/go");
	CHECK(is_right(KINDS));
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}
