package supervisor

const memfdCreate = 319
