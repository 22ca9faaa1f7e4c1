package supervisor

const memfdCreate = 279
